// Package op names what a caller does with a Service.
package op

// A Kind is what is done.
type Kind int

const (
	SignIn Kind = iota
	Validate
	Revoke
	RevokeUser
	Disable // and enable: the host's own change, before it revokes the user
	Enable
)

func (k Kind) String() string {
	return [...]string{"sign in", "validate", "revoke", "revoke user", "disable", "enable"}[k]
}
