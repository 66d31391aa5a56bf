package redisstore

import (
	"fmt"
	"strconv"
	"strings"
)

// slotCount is the number of slots of a Redis Cluster.
const slotCount = 16384

// slotOf returns the slot of a key whose name has no braces. The slot is the
// CRC-16/XMODEM of the name modulo slotCount, as the Redis Cluster
// specification defines.
func slotOf(key string) int { return int(crc16(0, key)) % slotCount }

// crc16 extends a CRC-16/XMODEM checksum by the bytes of a text. The argument
// crc is the checksum of the bytes before the text, or 0 if there are none.
func crc16(crc uint16, text string) uint16 {
	for i := range len(text) {
		crc ^= uint16(text[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// atRest reports, for each slot, whether the master owns the slot and none of
// the slot's keys are moving to or from another node.
func (v *view) atRest() (slots [slotCount]bool) {
	set := func(text string, to bool) {
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		until, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil {
			return
		}
		for slot := max(from, 0); slot <= until && slot < slotCount; slot++ {
			slots[slot] = to
		}
	}
	_, has, _ := strings.Cut(v.has, " ")
	var moving []string
	for text := range strings.FieldsSeq(has) {
		if inside, ok := strings.CutPrefix(text, "["); ok { // [93->-ID] or [93-<-ID]
			number, _, _ := strings.Cut(inside, "-")
			moving = append(moving, number)
		} else {
			set(text, true)
		}
	}
	for _, number := range moving {
		set(number, false)
	}
	return slots
}

// beatKeyAt returns the name of the heartbeat key for a master of a cluster. It
// tries one number after another, from 1. It uses the first number whose key is
// in a slot that the master owns and that is not moving. So all service
// replicas choose the same name.
func (s *Store) beatKeyAt(v *view) (string, error) {
	const digits = 8             // hexadecimal digits of the number
	const tries = 64 * slotCount // the chance that none of the keys is in a given slot is e^-64
	slots := v.atRest()
	if slots == ([slotCount]bool{}) {
		return "", fmt.Errorf("all slots of node %s of the cluster are being moved", v.self)
	}
	key := s.beatKey(0)
	before := crc16(0, key[:len(key)-digits])
	for number := uint32(1); number < tries; number++ {
		if slots[crc16(before, fmt.Sprintf("%0*x", digits, number))%slotCount] {
			return s.beatKey(number), nil
		}
	}
	return "", fmt.Errorf("found no name for a heartbeat key that is in a slot of node %s of the cluster", v.self)
}
