package ginadapter_test

// What an ill storage does.
var faults = []situation{}
