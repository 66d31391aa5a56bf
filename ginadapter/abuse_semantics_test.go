package ginadapter_test

// Who may sign in, and how long a token is good.
var semantics = []situation{}
