package tokenauth

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// A jsonObject builds a JSON object whose members appear in the order in which
// they were added. It does not use encoding/json for this, because encoding/json
// keeps an order only for struct fields, and a host can add members.
type jsonObject struct{ buf []byte }

func (o *jsonObject) name(name string) {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.buf = appendJSONString(o.buf, name)
	o.buf = append(o.buf, ':')
}

func (o *jsonObject) text(name, value string) {
	o.name(name)
	o.buf = appendJSONString(o.buf, value)
}

func (o *jsonObject) number(name string, value int64) {
	o.name(name)
	o.buf = strconv.AppendInt(o.buf, value, 10)
}

func (o *jsonObject) boolean(name string, value bool) {
	o.name(name)
	o.buf = strconv.AppendBool(o.buf, value)
}

func (o *jsonObject) texts(name string, values []string) {
	o.name(name)
	o.buf = append(o.buf, '[')
	for i, value := range values {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = appendJSONString(o.buf, value)
	}
	o.buf = append(o.buf, ']')
}

// done returns the finished object. Without members it is "{}".
func (o *jsonObject) done() []byte {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	}
	return append(o.buf, '}')
}

// appendJSONString appends a JSON string. Like Katana, the server of the
// original API, it does not escape '<', '>' and '&'.
func appendJSONString(to []byte, s string) []byte {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	encoder.Encode(s) // a string always encodes
	return append(to, bytes.TrimSuffix(encoded.Bytes(), []byte("\n"))...)
}
