package ginadapter_test

// What must not get out.
var leakage = []situation{}
