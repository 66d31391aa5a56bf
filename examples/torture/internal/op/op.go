// Package op names the operations of a Service and of its host.
package op

// A Kind is a kind of operation.
type Kind int

const (
	SignIn Kind = iota
	Validate
	Revoke
	RevokeUser
	Disable // the host changes its user, and then revokes the user's tokens
	Enable
)

func (k Kind) String() string {
	return [...]string{"sign in", "validate", "revoke", "revoke user", "disable", "enable"}[k]
}
