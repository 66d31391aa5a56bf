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

// claims are what a JWT says.
type claims struct {
	jwt.RegisteredClaims
	Name string `json:"name"`
	Role string `json:"role"`
}

const jwtIssuer = "reports"

// signJWT returns a JWT for a user, and when it expires.
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

// jwtParser takes one algorithm, whatever the JWT says of itself, and none that
// never expires.
var jwtParser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
	jwt.WithIssuer(jwtIssuer),
	jwt.WithExpirationRequired(),
)

// jwtCaller returns whom the JWT of a request stands for.
func (s *service) jwtCaller(r *http.Request) (caller, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return caller{}, errors.New("no bearer token")
	}
	var says claims
	_, err := jwtParser.ParseWithClaims(token, &says, func(*jwt.Token) (any, error) { return s.jwtKey, nil })
	return caller{says.Subject, says.Name, says.Role}, err
}

// readKey reads the key of the JWTs, and makes one if there is none.
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
		err = errors.New("the key of the JWTs is too short")
	}
	return key, err
}
