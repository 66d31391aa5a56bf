package tokenauth_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// ask sends a request and returns status and body. Without an access token it
// sends no Authorization header.
func ask(t *testing.T, method, url, accessToken, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", string(text))
}

// newGuarded returns a handler with /Token and /me, and an access token for
// alice.
func newGuarded(t *testing.T, s tokenauth.Storage) (h http.Handler, accessToken string) {
	t.Helper()
	auth := newService(t, s, &staff{}, nil)
	issued, err := auth.Issue(t.Context(), alice(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	auth.Mount(mux)
	mux.Handle("/me", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		io.WriteString(w, token.Principal.UserName+" from "+r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')])
	})))
	return mux, issued.AccessToken.Reveal()
}

const fastCGI = `location / {
	fastcgi_pass %s;
	fastcgi_param SERVER_PROTOCOL $server_protocol;
	fastcgi_param REQUEST_METHOD $request_method;
	fastcgi_param REQUEST_URI $request_uri;
	fastcgi_param HTTP_HOST $http_host;
	fastcgi_param REMOTE_ADDR $remote_addr;
	fastcgi_param REMOTE_PORT $remote_port;
	fastcgi_param CONTENT_LENGTH $content_length;
	fastcgi_param CONTENT_TYPE $content_type;
	%s
}`

// A proxy must pass on the Authorization header, as the troubleshooting section
// of the guide says.
func TestProxiesThatStripAuthorization(t *testing.T) {
	t.Parallel()
	const denied = `401 {"Message":"Authorization has been denied for this request."}`
	for _, test := range []struct {
		name, config string
		fastCGI      bool
		want         string
	}{
		{"FastCGI", "", true, "200 alice from 127.0.0.1"},
		{"FastCGI without the headers", "fastcgi_pass_request_headers off;", true, denied},
		{"FastCGI with only Authorization", "fastcgi_pass_request_headers off; fastcgi_param HTTP_AUTHORIZATION $http_authorization;", true, "200 alice from 127.0.0.1"},
		{"FastCGI with an empty Authorization", `fastcgi_param HTTP_AUTHORIZATION "";`, true, denied},
		{"HTTP", "", false, "200 alice from 127.0.0.1"},
		{"HTTP without the headers", "proxy_pass_request_headers off;", false, denied},
		{"HTTP with an empty Authorization", `proxy_set_header Authorization "";`, false, denied},
		{"HTTP with only Authorization", "proxy_pass_request_headers off; proxy_set_header Authorization $http_authorization;", false, "200 alice from 127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h, accessToken := newGuarded(t, new(memory.Store))
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			config := "location / { proxy_pass http://" + l.Addr().String() + ";" + test.config + "}"
			if test.fastCGI {
				go fcgi.Serve(l, h)
				config = fmt.Sprintf(fastCGI, l.Addr(), test.config)
			} else {
				serveOn(t, l, h)
			}
			proxy := throwaway.Nginx(t, config)
			if got := ask(t, "GET", proxy+"/me", accessToken, ""); got != test.want {
				t.Errorf("answered %s, want %s", got, test.want)
			}
			for _, method := range []string{"POST", "GET"} {
				if got := ask(t, method, proxy+"/Token", "", "grant_type=password&username=alice&password=password"); !strings.HasPrefix(got, `200 {"access_token":`) {
					t.Errorf("sign-in by %s: answered %s, want 200", method, got)
				}
			}
		})
	}
}

// auth_request of nginx passes on 401 and 403, and turns each other error into
// 500. The guide shows how to return the original status to the client.
func TestNginxAuthRequest(t *testing.T) {
	t.Parallel()
	store := &tokenauthtest.FailingStorage{Storage: new(memory.Store)}
	h, accessToken := newGuarded(t, store)
	l, upstream := listen(t, "tcp")
	serveOn(t, l, h)
	proxy := throwaway.Nginx(t, `
		location = /check {
			internal;
			proxy_pass `+upstream+`/me;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
		}
		location /plain { auth_request /check; try_files /none =204; }
		location /mapped {
			auth_request /check;
			auth_request_set $auth_status $upstream_status;
			error_page 500 = @auth;
			try_files /none =204;
		}
		location @auth {
			if ($auth_status = 400) { return 400; }
			if ($auth_status = 503) { return 503; }
			return 500;
		}`)
	for _, test := range []struct {
		accessToken   string
		down          bool
		plain, mapped string
	}{
		{accessToken, false, "204", "204"},
		{"", false, "401", "401"},
		{"bad", false, "401", "401"},
		{"a b", false, "500", "400"},
		{accessToken, true, "500", "503"},
	} {
		store.Heal()
		if test.down {
			store.Fail(io.ErrUnexpectedEOF)
		}
		for path, want := range map[string]string{"/plain": test.plain, "/mapped": test.mapped} {
			if got, _, _ := strings.Cut(ask(t, "GET", proxy+path, test.accessToken, ""), " "); got != want {
				t.Errorf("%s with token %q, storage down %v: answered %s, want %s", path, test.accessToken, test.down, got, want)
			}
		}
	}
}
