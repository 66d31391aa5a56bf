package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// newBalancer returns a handler that forwards requests to the replicas in turn,
// each over a new connection. If it cannot connect to a replica, it tries the
// next one. It never repeats a request that a replica may have received, since the
// request could be a sign-in, which the replicas would then check twice.
//
// It sets X-Forwarded-For to the address of the client, and drops the value that
// the client sent. Otherwise a client could send a false address and evade the
// throttle.
func newBalancer(addrs []string) http.Handler {
	var turn atomic.Uint64
	dialer := net.Dialer{Timeout: time.Second}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "replica"}) // DialContext chooses the replica
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			DisableKeepAlives:     true,
			ResponseHeaderTimeout: 10 * time.Second,
			DialContext: func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
				first := turn.Add(1)
				for i := range uint64(len(addrs)) {
					conn, err = dialer.DialContext(ctx, network, addrs[(first+i)%uint64(len(addrs))])
					if err == nil {
						break
					}
				}
				return conn, err
			},
		},
	}
}
