package gormstore

// commits is true in a session of MariaDB or MySQL in which a statement is
// committed by itself and arrives as it was sent, and an error in any other one.
//
// A session may have other settings than that of New, and these would do harm
// without an error. So each statement with a WHERE, and the INSERT of a sign-in,
// has this condition: it is a constant, is evaluated even if no row is there, and
// costs no round trip. The last bit overflows (error 1690). A transaction of our
// own around each statement would cost two round trips on each sign-in, and the
// snapshot of a read that was left open would still show what has ended.
//
// The character set before the constant spares the server a conversion at each
// execution, a third of what the condition costs.
const commits = `~0 + (@@autocommit = 0 OR @@completion_type <> _latin1'NO_CHAIN' OR @@character_set_client <> @@character_set_connection)`
