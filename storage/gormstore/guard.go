package gormstore

// commits is a condition for statements in MariaDB and MySQL. It is true in a session
// that commits each statement and does not convert character sets. In any other
// session it overflows (error 1690).
//
// Sessions of one pool can have different settings, and the check in [New] sees one
// session only. So each statement with a WHERE, and the INSERT of a sign-in, has this
// condition. It costs no round trip, and the server evaluates it even if no row
// matches. A transaction around each statement would cost two round trips for each
// sign-in, and its snapshot could still show ended tokens.
//
// The prefix _latin1 saves the server a conversion at each execution, a third of the
// condition's cost.
const commits = `~0 + (@@autocommit = 0 OR @@completion_type <> _latin1'NO_CHAIN' OR @@character_set_client <> @@character_set_connection)`
