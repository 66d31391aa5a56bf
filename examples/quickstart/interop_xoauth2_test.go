package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

var xoauth2Version = sync.OnceValues(exec.Command("go", "list", "-m", "golang.org/x/oauth2").Output)

// xoauth2 signs in with golang.org/x/oauth2.
func xoauth2(t *testing.T, at target) (got seen) {
	t.Helper()
	out, err := xoauth2Version()
	if err != nil {
		t.Fatal(err)
	}
	got.Client = strings.TrimSpace(string(out))

	config := oauth2.Config{
		ClientID: at.clientID, ClientSecret: at.clientSecret,
		Endpoint: oauth2.Endpoint{
			TokenURL: at.host + "/Token",
			AuthStyle: map[string]oauth2.AuthStyle{
				"": oauth2.AuthStyleAutoDetect, "basic": oauth2.AuthStyleInHeader, "body": oauth2.AuthStyleInParams,
			}[at.auth],
		},
	}
	signIn := func() *oauth2.Token {
		t.Helper()
		token, err := config.PasswordCredentialsToken(t.Context(), at.user, at.password)
		if err != nil {
			t.Fatal(err)
		}
		if name := token.Extra("userName"); name != at.user || token.Type() != "Bearer" {
			t.Errorf("a %s token of %v", token.Type(), name)
		}
		return token
	}
	refused := func(c *oauth2.Config, password string) string {
		t.Helper()
		_, err := c.PasswordCredentialsToken(t.Context(), at.user, password)
		e, ok := errors.AsType[*oauth2.RetrieveError](err)
		if !ok {
			t.Fatalf("the error is %v", err)
		}
		return e.ErrorCode
	}
	me := func(token *oauth2.Token) (status int, user, description string) {
		t.Helper()
		response, err := config.Client(t.Context(), token).Get(at.host + "/me")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body struct {
			UserName    string `json:"userName"`
			Description string `json:"error_description"`
		}
		if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, body.UserName, body.Description
	}

	first := signIn()
	got.ExpiresIn = time.Until(first.Expiry).Seconds()
	got.WrongPassword = refused(&config, "not "+at.password)
	if at.clientSecret != "" {
		other := config
		other.ClientSecret = "not " + at.clientSecret
		got.WrongSecret = refused(&other, at.password)
	}
	var status int
	if status, got.User, _ = me(first); status != http.StatusOK {
		t.Errorf("/me answered %d", status)
	}
	_, got.UserAgain, _ = me(signIn())
	status, _, description := me(first)
	got.Replaced = fmt.Sprint(status, " ", description)
	return got
}
