package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// serveQuickstart is the role of a child that runs the quickstart until the parent
// ends.
func serveQuickstart(tb testing.TB, args []string, ready func(any)) {
	binary, store := args[0], args[1]
	// The quickstart logs to a file, as a real service may do.
	log, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0", "-store", store)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	_, rest, _ := strings.Cut(line, "http://")
	address, _, ok := strings.Cut(rest, ",")
	if err != nil || !ok {
		logged, _ := os.ReadFile(log.Name())
		tb.Fatalf("the quickstart did not start; error: %v; output: %s%s", err, line, logged)
	}
	go io.Copy(io.Discard, lines)

	accessToken, err := signIn(address)
	if err != nil {
		tb.Fatal(err)
	}
	request := fmt.Sprintf("GET /me HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", address, accessToken)
	ready(serving{address, [][]byte{[]byte(request)}})
	untilParentEnds()
}

// signIn signs in one of the quickstart's users, and returns the access token.
func signIn(address string) (accessToken string, err error) {
	answer, err := http.PostForm("http://"+address+"/Token",
		url.Values{"grant_type": {"password"}, "username": {"username"}, "password": {"password"}})
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var grant struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&grant); err != nil || grant.AccessToken == "" {
		return "", fmt.Errorf("the response to the sign-in has status %s and no token; error: %v", answer.Status, err)
	}
	return grant.AccessToken, nil
}

// A loadTarget is the message that names the server to which a child must send
// requests.
type loadTarget struct {
	Server      serving
	Connections int
}

// A loadOrder is the message that makes a child send requests. If Total is 0, the
// child instead answers with its loadResult.
type loadOrder struct {
	Total, Each int  // as in the type amount
	Count       bool // add these requests to the result
}

// A loadResult summarizes all counted requests.
type loadResult struct {
	P50, P99 float64     // time until a response of any status, in milliseconds
	Answers  map[int]int // number of responses by status; 0 counts requests without a response
}

func (r loadResult) notOK() (n int) {
	for status, count := range r.Answers {
		if status != http.StatusOK {
			n += count
		}
	}
	return n
}

func (r loadResult) answers() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(r.Answers)) {
		what := fmt.Sprint(status)
		if status == 0 {
			what = "none"
		}
		parts = append(parts, what+": "+decimal(float64(r.Answers[status]), 0))
	}
	return strings.Join(parts, ", ")
}

// loadServer is the role of a child that sends requests to a server when its parent
// orders it to.
func loadServer(tb testing.TB, _ []string, ready func(any)) {
	ready(struct{}{})
	orders := json.NewDecoder(os.Stdin)
	var target loadTarget
	if err := orders.Decode(&target); err != nil {
		return // the parent has ended
	}
	l, err := target.Server.load(target.Connections)
	if err != nil {
		tb.Fatal(err)
	}
	defer l.close()
	seen := make([]tally, target.Connections)
	for {
		var o loadOrder
		if err := orders.Decode(&o); err != nil {
			return
		}
		if o.Total == 0 {
			ready(result(seen))
			continue
		}
		l.answered = func(connection, status int, took time.Duration) error {
			if o.Count {
				seen[connection].add(status, took)
			}
			return nil
		}
		if err := l.run(amount{o.Total, o.Each}); err != nil {
			tb.Fatal(err)
		}
		ready(struct{}{})
	}
}

// A tally counts the responses on one connection.
type tally struct {
	took    []uint32 // microseconds
	answers map[int]int
}

func (t *tally) add(status int, took time.Duration) {
	if t.answers == nil {
		t.answers = make(map[int]int)
	}
	t.answers[status]++
	t.took = append(t.took, uint32(took.Microseconds()))
}

func result(seen []tally) loadResult {
	r := loadResult{Answers: make(map[int]int)}
	var took []uint32
	for _, t := range seen {
		took = append(took, t.took...)
		for status, n := range t.answers {
			r.Answers[status] += n
		}
	}
	if len(took) == 0 {
		return r
	}
	slices.Sort(took)
	r.P50, r.P99 = float64(took[len(took)/2])/1e3, float64(took[len(took)*99/100])/1e3
	return r
}
