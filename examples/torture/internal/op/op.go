// Package op names the operations of a service and its host.
package op

// A Kind is a kind of operation.
type Kind int

// The kinds of operations.
const (
	SignIn Kind = iota
	Validate
	Revoke
	RevokeUser
	Disable // the host disables a user, and then revokes the user's tokens
	Enable  // the host enables a user
	RevokeDevice
	RevokeOthers // all tokens of a user, except one
	RevokeClient
	List
	Refresh       // exchange a refresh token for a new pair of tokens
	RevokeRefresh // revoke a refresh token, and so its sign-in
	CreateKey     // make an API key
	ValidateKey
	RevokeKey
	RevokeKeys // all API keys of a user
	RenameKey
	ListKeys
	TakeRole    // the host takes a role from a user, and then revokes the user's tokens
	GiveRole    // the host gives the role back, and then revokes the user's tokens
	SetPassword // the host changes the stamp of a user, and then revokes the user's tokens
)

func (k Kind) String() string {
	return [...]string{
		"sign in", "validate", "revoke", "revoke user", "disable", "enable", "revoke device", "revoke others", "revoke client", "list", "refresh", "revoke refresh",
		"create key", "validate key", "revoke key", "revoke all keys", "rename key", "list keys", "take role", "give role", "set password",
	}[k]
}
