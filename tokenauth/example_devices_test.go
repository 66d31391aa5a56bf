package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A client names its device in the token request. A second sign-in on a device
// ends the first. Other devices stay signed in.
func ExampleOptions_devices() {
	auth := newAuth(&tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}})
	for _, device := range []string{"phone", "laptop", "phone", "a\nb"} {
		form := "grant_type=password&username=alice&password=correct+horse&device=" + strings.ReplaceAll(device, "\n", "%0A")
		w := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(w, httptest.NewRequest("POST", "/Token", strings.NewReader(form)))
		fmt.Printf("%q %d", device, w.Code)
		if w.Code != http.StatusOK {
			fmt.Print(" ", w.Body)
		}
		fmt.Println()
	}
	tokens, err := auth.Tokens(context.Background(), "17")
	if err != nil {
		panic(err)
	}
	fmt.Println(len(tokens), "devices")
	// Output:
	// "phone" 200
	// "laptop" 200
	// "phone" 200
	// "a\nb" 400 {"error":"invalid_request","error_description":"The device must be 1 to 64 bytes of printable ASCII."}
	// 2 devices
}

// on signs alice in on a device, and returns the token.
func on(auth *tokenauth.Service, device, name string) tokenauth.IssuedToken {
	issued, err := auth.SignIn(context.Background(), tokenauth.Credentials{
		UserName: "alice", Password: tokenauth.NewSecret("correct horse"), Device: device, DeviceName: name,
	})
	if err != nil {
		panic(err)
	}
	return issued
}

// A page shows where the user is signed in, and ends one of the sign-ins.
// Package html/template escapes the name of the device, which the client chose.
func ExampleService_RevokeDevice() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	auth := newAuth(&tokenauth.Options{Devices: new(tokenauth.DeviceOptions), Now: func() time.Time { return now }})
	page := template.Must(template.New("").Parse(`{{range .Tokens -}}
<form action="/sign-ins/{{.SlotID}}" method="post">{{.DeviceName}}, last seen {{.LastSeen.Format "2 January"}}
{{- if eq .Slot $.Current.Slot}} (this device){{end}}</form>
{{end}}`))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sign-ins", func(w http.ResponseWriter, r *http.Request) {
		current, _ := tokenauth.FromContext(r.Context())
		tokens, err := auth.Tokens(r.Context(), current.Principal.UserID)
		if err != nil && !errors.Is(err, tokenauth.ErrCorrupt) {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		page.Execute(w, map[string]any{"Tokens": tokens, "Current": current})
	})
	mux.HandleFunc("POST /sign-ins/{id}", func(w http.ResponseWriter, r *http.Request) {
		current, _ := tokenauth.FromContext(r.Context())
		switch err := auth.RevokeDevice(r.Context(), current.Principal.UserID, r.PathValue("id")); {
		case errors.Is(err, tokenauth.ErrNotFound):
			http.NotFound(w, r)
		case err != nil:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	})
	h := auth.RequireBearer(mux)

	lost := on(auth, "5b0a31f6", "Ann's <old> phone")
	now = now.AddDate(0, 0, 3)
	laptop := on(auth, "c41d7e02", "laptop")
	call := func(method, path string) string {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Authorization", "Bearer "+laptop.AccessToken.Reveal())
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
	fmt.Print(call("GET", "/sign-ins"))
	call("POST", "/sign-ins/"+lost.Token.SlotID())
	fmt.Print(call("GET", "/sign-ins"))
	// Output:
	// <form action="/sign-ins/KOIRRWGjrU4Av6FME_JT2A" method="post">laptop, last seen 4 March (this device)</form>
	// <form action="/sign-ins/wkr0y7O08oV7gHPmEbrhSg" method="post">Ann&#39;s &lt;old&gt; phone, last seen 1 March</form>
	// <form action="/sign-ins/KOIRRWGjrU4Av6FME_JT2A" method="post">laptop, last seen 4 March (this device)</form>
}

// A user who signs out everywhere else keeps the token of the request. So does a
// user who changed the password.
func ExampleService_RevokeUser_others() {
	ctx := context.Background()
	auth := newAuth(&tokenauth.Options{Devices: new(tokenauth.DeviceOptions)})
	on(auth, "5b0a31f6", "phone")
	on(auth, "77f0a9d3", "tablet")
	current := on(auth, "c41d7e02", "laptop").Token // in a handler: tokenauth.FromContext

	if err := auth.RevokeUser(ctx, current.Principal.UserID, current); err != nil {
		panic(err)
	}
	tokens, err := auth.Tokens(ctx, "17")
	if err != nil {
		panic(err)
	}
	for _, token := range tokens {
		fmt.Println(token.DeviceName)
	}
	// Output: laptop
}

// After single sign-on, the host issues the token itself. Recheck looks at the
// user again, so that a user who was disabled in the meantime gets no token.
func ExampleIssueOptions() {
	disabled := false
	users := recheckedPeople{look: func() error {
		if disabled {
			return tokenauth.ErrRejected
		}
		return nil
	}}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Devices: new(tokenauth.DeviceOptions)})
	if err != nil {
		panic(err)
	}
	p := tokenauth.Principal{UserID: "17", UserName: "alice", Stamp: "1"} // as the provider's answer names the user
	for range 2 {
		issued, err := auth.Issue(context.Background(), p, &tokenauth.IssueOptions{
			Device: "c41d7e02", DeviceName: "laptop", Lifetime: 8 * time.Hour, Recheck: true,
		})
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(issued.Token.DeviceName, "for", issued.Token.ExpiresAt.Sub(issued.Token.IssuedAt.Truncate(time.Second)))
		disabled = true
	}
	// Output:
	// laptop for 8h0m0s
	// tokenauth: the user name or password is incorrect
}

// A recheckedPeople is an Authenticator that looks at users again.
type recheckedPeople struct {
	people
	look func() error
}

func (r recheckedPeople) Recheck(context.Context, tokenauth.Principal) error { return r.look() }

// A token with a MaxLifetime lives on while it is used. Extend does so at once,
// for a page that shows when the user will be signed out. The access token stays
// the same, so other requests of the page are not affected.
func ExampleService_Extend() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	auth := newAuth(&tokenauth.Options{Lifetime: time.Hour, MaxLifetime: 3 * time.Hour, Now: func() time.Time { return now }})
	ctx := context.Background()
	accessToken := signIn(auth)
	for range 4 {
		token, err := auth.Validate(ctx, accessToken) // in a handler: tokenauth.FromContext
		if err != nil {
			fmt.Println(err)
			return
		}
		if token, err = auth.Extend(ctx, token); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("at", now.Format("15:04"), "valid until", token.ExpiresAt.Format("15:04"))
		now = now.Add(50 * time.Minute)
	}
	fmt.Println("sign in again at", now.Format("15:04"))
	// Output:
	// at 12:00 valid until 13:00
	// at 12:50 valid until 13:50
	// at 13:40 valid until 14:40
	// at 14:30 valid until 15:00
	// sign in again at 15:20
}
