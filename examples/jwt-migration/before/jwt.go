package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims are the claims of a JWT.
type claims struct {
	jwt.RegisteredClaims
	Name string `json:"name"`
	Role string `json:"role"`
}

const jwtIssuer = "reports"

// signJWT returns a new JWT for a user, and its expiry.
func (s *service) signJWT(u User) (token string, expires time.Time, err error) {
	now := time.Now()
	expires = now.Add(lifetime)
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    jwtIssuer,
			Subject:   u.ID,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		Name: u.Name,
		Role: u.Role,
	}).SignedString(s.jwtKey)
	return token, expires, err
}

// jwtParser accepts one algorithm only, regardless of the one that the JWT
// names. It rejects a JWT without an expiry.
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
		return caller{}, errors.New("no bearer token")
	}
	var says claims
	_, err := jwtParser.ParseWithClaims(strings.Trim(token, " "), &says, func(*jwt.Token) (any, error) { return s.jwtKey, nil })
	return caller{says.Subject, says.Name, says.Role}, err
}

// readKey reads the key of the JWTs from a file. If there is no such file, it
// generates a key and writes it there.
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
		err = errors.New("the key of the JWTs has fewer than 32 bytes")
	}
	return key, err
}
