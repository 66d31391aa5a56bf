package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// The parameters of [Hash]: Argon2id (RFC 9106) with 19 MiB, two passes and one
// lane, which OWASP's Password Storage Cheat Sheet recommends first.
const (
	defaultMemory  = 19 << 10 // KiB
	defaultPasses  = 2
	defaultLanes   = 1
	defaultSaltLen = 16
	defaultHashLen = 32
)

// The highest parameters that a stored hash may have. They limit how long an
// attacker who can write to the table can keep the service busy. Traffic is
// memory × passes; a hash with the maximum of 1 GiB takes about a second.
const (
	maxMemory  = 256 << 10 // KiB
	maxPasses  = 16
	maxLanes   = 16
	maxTraffic = 1 << 20 // KiB, memory × passes
)

const argon2idMarker = "$argon2id$"

type argon2id struct {
	memory, passes uint32
	lanes          uint8
	salt, hash     []byte
}

// parseArgon2id parses a PHC string, $argon2id$v=19$m=…,t=…,p=…$salt$hash. It
// returns false for a hash whose cost is out of bounds.
func parseArgon2id(phc string) (a argon2id, ok bool) {
	fields := strings.Split(phc, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != "v=19" {
		return a, false
	}
	n, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &a.memory, &a.passes, &a.lanes)
	if err != nil || n != 3 {
		return a, false
	}
	if a.salt, ok = decode(base64.RawStdEncoding, fields[4], minSaltLen, maxSaltLen); !ok {
		return a, false
	}
	if a.hash, ok = decode(base64.RawStdEncoding, fields[5], minHashLen, maxHashLen); !ok {
		return a, false
	}
	switch {
	case a.passes < 1 || a.passes > maxPasses,
		a.lanes < 1 || a.lanes > maxLanes,
		a.memory < 8*uint32(a.lanes) || a.memory > maxMemory,
		a.traffic() > maxTraffic:
		return a, false
	}
	return a, a.String() == phc // Sscanf also accepts signs and leading zeros
}

func (a argon2id) verify(password string) (bool, error) {
	got := argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.lanes, uint32(len(a.hash)))
	return subtle.ConstantTimeCompare(got, a.hash) == 1, nil
}

// traffic returns how much memory the hash writes in all its passes, in KiB. It
// is the measure of the hash's cost.
func (a argon2id) traffic() uint32 { return a.memory * a.passes }

const defaultTraffic = defaultMemory * defaultPasses

// cheap compares the traffic per lane, because lanes can run in parallel.
func (a argon2id) cheap() bool { return a.traffic() < defaultTraffic*uint32(a.lanes) }

func (a argon2id) dummy() verifier {
	a.salt, a.hash = make([]byte, len(a.salt)), make([]byte, len(a.hash))
	return a
}

func (a argon2id) kind() string {
	return fmt.Sprintf("argon2id m=%d,t=%d,p=%d", a.memory, a.passes, a.lanes)
}

// weak reports whether the hash is easier to guess than those that [Hash]
// makes: because of less memory, less traffic, a shorter salt or a shorter
// digest. Fewer passes are not weak if more memory makes up for them.
func (a argon2id) weak() bool {
	return a.memory < defaultMemory || a.traffic() < defaultTraffic ||
		len(a.salt) < defaultSaltLen || len(a.hash) < defaultHashLen
}

func (a argon2id) String() string {
	encoding := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", a.memory, a.passes, a.lanes,
		encoding.EncodeToString(a.salt), encoding.EncodeToString(a.hash))
}

func newArgon2id(password string) argon2id {
	a := argon2id{memory: defaultMemory, passes: defaultPasses, lanes: defaultLanes, salt: make([]byte, defaultSaltLen)}
	rand.Read(a.salt) // never returns an error: on failure it ends the process
	a.hash = argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.lanes, defaultHashLen)
	return a
}
