package tokenauth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// DeviceOptions configures devices ([Options.Devices]). A device is one
// installation of a client, such as the app on a phone. There is one token for
// each user, client and device. A sign-in on a device replaces the token of that
// device only.
//
// The zero value selects the defaults. Devices need a storage that is a
// [Lister]. If it is also a [UseRecorder], [Service.Run] records when each token
// was last used.
//
// Turn devices on once all replicas run a version that has them. Tokens that
// were issued before stay valid.
type DeviceOptions struct {
	// Parameter is the name of the parameter of a token request that names the
	// device, such as "device". Its value has 1 to 64 bytes of printable ASCII.
	// A client without the parameter gets the slot without a device. A second
	// parameter, whose name is Parameter and "_name", has a name of the device
	// for people: at most 100 bytes of UTF-8 without control characters.
	//
	// Empty means that requests cannot name a device. Only the host's code can:
	// see [Credentials.Device] and [IssueOptions.Device].
	Parameter string

	// Max is the largest number of valid tokens of a user at one client,
	// including the one without a device. Zero means 10. The range is 1 to 1000.
	//
	// A sign-in ends all tokens beyond Max, starting with the one that was used
	// longest ago. If many sign-ins of a user are in progress at the same time,
	// there may be more tokens until they have returned.
	Max int
}

const maxDevices = 1000 // the largest DeviceOptions.Max

// withDefaults returns a copy of o with the defaults filled in. The error names
// the first invalid field.
func (o *DeviceOptions) withDefaults() (*DeviceOptions, error) {
	if o == nil {
		return nil, nil
	}
	c := *o
	setDefault(&c.Max, 10)
	if c.Max < 1 || c.Max > maxDevices {
		return nil, fmt.Errorf("tokenauth: Options.Devices.Max is %d, must be from 1 to %d", c.Max, maxDevices)
	}
	if c.Parameter == "" {
		return &c, nil
	}
	c.Parameter = asciiLower(c.Parameter) // names of parameters match in any case
	if len(c.Parameter) > 64 || strings.ContainsFunc(c.Parameter, func(r rune) bool { return r != '_' && notBase64URL(r) }) {
		return nil, fmt.Errorf("tokenauth: Options.Devices.Parameter is %q, must be 1 to 64 letters, digits, '-' and '_'", c.Parameter)
	}
	for _, name := range c.parameters() {
		if slices.Contains(wire.TokenParameters(), name) {
			return nil, fmt.Errorf("tokenauth: Options.Devices.Parameter is %q, but token requests already have a parameter %q", c.Parameter, name)
		}
	}
	return &c, nil
}

// parameters returns the names of the parameters of a token request that name
// the device.
func (o *DeviceOptions) parameters() []string {
	if o == nil || o.Parameter == "" {
		return nil
	}
	return []string{o.Parameter, o.nameParameter()}
}

func (o *DeviceOptions) nameParameter() string { return o.Parameter + "_name" }
