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

// newBalancer returns a handler that passes requests on to the replicas in turn,
// each over a connection of its own. A replica that cannot be reached is passed
// over: nothing was sent to it yet, so no password is sent twice.
//
// X-Forwarded-For is the address of the client and nothing else: what a client
// wrote there is dropped, or it could be anybody to the throttle.
func newBalancer(addrs []string) http.Handler {
	var turn atomic.Uint64
	dialer := net.Dialer{Timeout: time.Second}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "replica"}) // which one, the dialling decides
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
