package main

var browser struct{ stop func() }
