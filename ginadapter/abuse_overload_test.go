package ginadapter_test

// Overload and the throttle.
var overload = []situation{
	{id: "T17", what: "500 sign-ins at once with passwords of 1 KB: bounded memory, and validation beside them goes on"},
	{id: "T18", what: "a client that waits to be hashed disconnects: it leaves the queue and takes no place"},
	{id: "T19", what: "a panic while hashing frees the place"},
}
