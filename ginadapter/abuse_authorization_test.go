package ginadapter_test

// What is in the Authorization header.
var authorization = []situation{}
