package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

var client = &http.Client{Timeout: 10 * time.Second}

// An answer is the part of a response that the script uses.
type answer struct {
	status      int
	header      http.Header
	AccessToken string `json:"access_token"`
	UserID      string `json:"userId"`
	Description string `json:"error_description"`
}

// replica returns the name of the replica that answered.
func (a answer) replica() string { return a.header.Get(replicaHeader) }

func signIn(ctx context.Context, host, user, password string) (answer, error) {
	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}
	r, err := http.NewRequestWithContext(ctx, "POST", host+"/Token", strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(r)
}

// call sends a request with an access token and without a body.
func call(ctx context.Context, method, url, accessToken string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+accessToken)
	return send(r)
}

func send(r *http.Request) (answer, error) {
	response, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header}
	if len(body) > 0 {
		err = json.Unmarshal(body, &a)
	}
	return a, err
}

// wanted returns err if it is not nil. Otherwise, it returns an error unless the
// answer has the given status.
func (a answer) wanted(status int, err error) error {
	if err == nil && a.status != status {
		err = fmt.Errorf("%s answered with status %d, want %d", a.replica(), a.status, status)
	}
	return err
}
