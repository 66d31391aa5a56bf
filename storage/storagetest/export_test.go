package storagetest

// Check is for tests that break a storage on purpose.
var Check = check
