package redisstore

import (
	"fmt"
	"strconv"
	"strings"
)

// slotCount is how many slots a Redis Cluster has.
const slotCount = 16384

// slotOf returns the slot of a key without braces, as the specification of
// Redis Cluster has it: CRC-16/XMODEM.
func slotOf(key string) int { return int(crc16(0, key)) % slotCount }

// crc16 goes on from the checksum of what stands before the text.
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

// atRest returns the slots of the master that no key leaves or comes to.
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

// beatKeyAt returns the first of the names for heartbeats that is in a slot at
// rest of the master. All replicas choose the same one.
func (s *Store) beatKeyAt(v *view) (string, error) {
	const digits = 8             // of the number
	const tries = 64 * slotCount // all miss one slot with a chance of e^-64
	slots := v.atRest()
	if slots == ([slotCount]bool{}) {
		return "", fmt.Errorf("node %s of the cluster has no slot but those that are being moved", v.self)
	}
	key := s.beatKey(0)
	before := crc16(0, key[:len(key)-digits])
	for number := uint32(1); number < tries; number++ {
		if slots[crc16(before, fmt.Sprintf("%0*x", digits, number))%slotCount] {
			return s.beatKey(number), nil
		}
	}
	return "", fmt.Errorf("no key for heartbeats is in a slot of node %s of the cluster", v.self)
}
