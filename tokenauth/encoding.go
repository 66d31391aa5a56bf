package tokenauth

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The first byte of an encoded [Token]. Encoding 2 is encoding 1 followed by
// the fields that only [Options.Devices] and [Options.MaxLifetime] set. Encoding 3 is
// encoding 2 with [Token.Refresh] before these fields. A token without any of them has
// encoding 1, which earlier versions can read.
const (
	tokenEncoding        = 1
	deviceTokenEncoding  = 2
	refreshTokenEncoding = 3
)

// AppendBinary appends the binary encoding of t to b, for a [Storage] that
// keeps bytes. Equal tokens have the same encoding, and later versions of this
// package can read it. The error is always nil. AppendBinary implements
// [encoding.BinaryAppender].
func (t Token) AppendBinary(b []byte) ([]byte, error) {
	encoding := byte(tokenEncoding)
	switch {
	case t.Refresh != nil:
		encoding = refreshTokenEncoding
	case t.needsDeviceEncoding():
		encoding = deviceTokenEncoding
	}
	b = append(b, encoding)
	b = append(b, t.Slot.User[:]...)
	b = append(b, t.Slot.Client[:]...)
	b = append(b, t.Digest[:]...)
	b = append(b, t.Replaced[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.IssuedAt.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(t.ExpiresAt.Unix()))
	b = appendOwner(b, t.ClientID, &t.Principal)
	if encoding == refreshTokenEncoding {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Refresh.ExpiresAt.Unix()))
		b = appendString(b, string(t.Refresh.State))
	}
	if encoding >= deviceTokenEncoding {
		b = t.appendDevice(b)
	}
	return b, nil
}

func (t *Token) needsDeviceEncoding() bool {
	return t.Device != "" || t.DeviceName != "" || t.Lifetime != 0 || t.IssuedAt.Nanosecond() != 0
}

// appendDevice appends the milliseconds of IssuedAt, the Lifetime in seconds,
// the device and its name. After the name, its length follows a second time, in
// the last byte. So a script in a database finds the name without decoding the
// rest. A name of more than 127 bytes is cut.
func (t *Token) appendDevice(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(t.IssuedAt.Nanosecond()/int(time.Millisecond)))
	b = binary.AppendUvarint(b, uint64(t.Lifetime/time.Second))
	b = appendString(b, t.Device)
	name := t.DeviceName[:min(len(t.DeviceName), 127)]
	return append(appendString(b, name), byte(len(name)))
}

// MarshalBinary returns the encoding of [Token.AppendBinary]. It implements
// [encoding.BinaryMarshaler]. The error is always nil.
func (t Token) MarshalBinary() ([]byte, error) { return t.AppendBinary(nil) }

// UnmarshalBinary decodes an encoding of [Token.AppendBinary] into t. It
// implements [encoding.BinaryUnmarshaler]. If b is not such an encoding, or
// more bytes follow the encoding, UnmarshalBinary returns an error that wraps
// [ErrCorrupt] and leaves t unchanged.
func (t *Token) UnmarshalBinary(b []byte) error {
	var u Token
	fields := [][]byte{u.Slot.User[:], u.Slot.Client[:], u.Digest[:], u.Replaced[:]}
	if len(b) < 1+16+16+32+32+8+8 || b[0] < tokenEncoding || b[0] > refreshTokenEncoding {
		return fmt.Errorf("%w: %d bytes are too short for a token, or their first byte is not the encoding of this version of tokenauth", ErrCorrupt, len(b))
	}
	encoding, b := b[0], b[1:]
	for _, field := range fields {
		b = b[copy(field, b):]
	}
	u.IssuedAt = time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC()
	u.ExpiresAt = time.Unix(int64(binary.BigEndian.Uint64(b[8:])), 0).UTC()
	d := decoder{all: string(b[16:]), rest: b[16:]}
	u.ClientID, u.Principal = d.owner()
	if encoding == refreshTokenEncoding {
		u.Refresh = d.refresh()
	}
	if encoding >= deviceTokenEncoding {
		d.device(&u)
	}
	if d.failed || len(d.rest) > 0 {
		return fmt.Errorf("%w: the lengths of its strings do not add up to its size", ErrCorrupt)
	}
	*t = u
	return nil
}

// appendOwner appends the client ID and the principal of a token. Each string
// is preceded by its length, and each list by the number of its entries.
func appendOwner(b []byte, clientID string, p *Principal) []byte {
	for _, s := range []string{clientID, p.UserID, p.UserName, p.Stamp} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Roles)))
	for _, role := range p.Roles {
		b = appendString(b, role)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Attributes)))
	for _, name := range slices.Sorted(maps.Keys(p.Attributes)) {
		b = appendString(appendString(b, name), p.Attributes[name])
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A decoder reads the bytes that appendOwner wrote, from front to back. All
// strings that it returns share one allocation. After an error it returns zero
// values.
type decoder struct {
	all    string
	rest   []byte // unread part of all
	failed bool
}

func (d *decoder) owner() (clientID string, p Principal) {
	clientID = d.text()
	p.UserID, p.UserName, p.Stamp = d.text(), d.text(), d.text()
	if n := d.count(); n > 0 {
		p.Roles = make([]string, n)
		for i := range p.Roles {
			p.Roles[i] = d.text()
		}
	}
	if n := d.count(); n > 0 {
		p.Attributes = make(map[string]string, n)
		for range n {
			name := d.text()
			p.Attributes[name] = d.text()
		}
	}
	return clientID, p
}

func (d *decoder) text() string {
	n := d.count()
	at := len(d.all) - len(d.rest)
	d.rest = d.rest[n:]
	return d.all[at : at+n]
}

// device reads what [Token.appendDevice] wrote.
func (d *decoder) device(t *Token) {
	milliseconds, seconds := d.number(999), d.number(uint64(maxLifetime/time.Second))
	t.IssuedAt = t.IssuedAt.Add(time.Duration(milliseconds) * time.Millisecond)
	t.Lifetime = time.Duration(seconds) * time.Second
	t.Device, t.DeviceName = d.text(), d.text()
	if d.number(127) != uint64(len(t.DeviceName)) {
		d.failed = true
	}
}

func (d *decoder) refresh() *Refresh {
	if len(d.rest) < 8 {
		d.failed, d.rest = true, nil
		return nil
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(d.rest)), 0).UTC()
	d.rest = d.rest[8:]
	return &Refresh{ExpiresAt: expires, State: []byte(d.text())}
}

// number reads a number. A number greater than most is an error.
func (d *decoder) number(most uint64) uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > most {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads a length prefix: how many bytes or strings follow. A count
// greater than the number of bytes left is an error, which bounds the memory
// that the caller allocates.
func (d *decoder) count() int {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > uint64(len(d.rest)-size) {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}
