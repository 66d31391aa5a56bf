package gormstore

// commits is a condition for statements in MariaDB and MySQL. It is true in a session
// that commits each statement and does not convert character sets. In any other
// session, evaluating the condition overflows, and the statement fails (error 1690).
//
// Sessions in the same pool can have different settings, and the check in [New] sees
// only one session. So each statement with a WHERE contains this condition, and so does
// a sign-in's INSERT. The condition costs no round trip, and the server evaluates it
// even if no row matches. The alternative is a transaction around each statement. That
// would cost two round trips for each sign-in, and the transaction's snapshot could
// still show ended tokens.
//
// The prefix _latin1 saves a third of the condition's cost: without it, the server
// would convert the text at each execution.
const commits = `~0 + (@@autocommit = 0 OR @@completion_type <> _latin1'NO_CHAIN' OR @@character_set_client <> @@character_set_connection)`
