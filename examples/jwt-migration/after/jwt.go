package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// claims are the contents of a JWT: the registered claims, and the user's name and
// role.
type claims struct {
	jwt.RegisteredClaims
	Name string `json:"name"`
	Role string `json:"role"`
}

const jwtIssuer = "reports"

// jwtParser accepts only HS256, even if the JWT names another algorithm. It rejects
// a JWT without an expiry.
var jwtParser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
	jwt.WithIssuer(jwtIssuer),
	jwt.WithExpirationRequired(),
)

// jwtCaller returns the user that the JWT of a request names. The name of the
// scheme is case-insensitive (RFC 9110 §11.1).
func (s *service) jwtCaller(r *http.Request) (caller, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return caller{}, errors.New("the request has no bearer token")
	}
	var says claims
	_, err := jwtParser.ParseWithClaims(strings.Trim(token, " "), &says, func(*jwt.Token) (any, error) { return s.jwtKey, nil })
	return caller{says.Subject, says.Name, says.Role}, err
}

// readKey reads the key that signs the JWTs from a file. If the file does not
// exist, it generates a key and writes it to the file.
func readKey(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		rand.Read(key)
		return key, os.WriteFile(file, []byte(hex.EncodeToString(key)), 0o600)
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(text))
	if err == nil && len(key) < 32 {
		err = errors.New("the key of the JWTs is too short, want at least 32 bytes in hex")
	}
	return key, err
}
