// Replicas runs three replicas of a small service behind a load balancer, on one
// PostgreSQL database. It checks that the replicas agree on which tokens are valid,
// and that they count failed sign-ins together.
//
//	go run ./examples/replicas [-store postgres://…] [-port PORT] [-serve]
//
// Each replica is a separate process. The program runs the checks of a script and
// prints how long they took. It exits with 0 if the replicas passed all checks.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	if len(os.Args) > 1 && os.Args[1] == replicaCommand {
		if err := replica(os.Stdin, os.Stdout); err != nil {
			log.Fatal("replicas: a replica failed: ", err)
		}
		return
	}
	store := flag.String("store", "", "PostgreSQL `database`, postgres://…; empty starts a temporary server")
	port := flag.String("port", "8080", "`port` of 127.0.0.1 for the balancer; 0 picks a free one")
	serve := flag.Bool("serve", false, "keep running after the script, to try it with curl")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *store, *port, *serve); err != nil {
		log.Fatal("replicas: ", err)
	}
}

// run runs the script on the database with the URL store, or on a temporary server
// if store is empty. It returns an error if a check fails.
func run(ctx context.Context, out io.Writer, store, port string, serve bool) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	defer listener.Close()
	if store != "" {
		return runOn(ctx, out, store, listener, serve)
	}
	var failed error
	err = throwaway.Outside(ctx, func(tb testing.TB) {
		failed = runOn(ctx, out, throwaway.StartPostgres(tb).DSN(), listener, serve)
	})
	if errors.Is(err, throwaway.ErrMissing) {
		return fmt.Errorf("%w; or use -store to name a database of your own", err)
	}
	return errors.Join(failed, err)
}

func runOn(ctx context.Context, out io.Writer, store string, listener net.Listener, serve bool) error {
	pool, err := prepareDatabase(ctx, store)
	if err != nil {
		return err
	}
	defer pool.Close()

	// A real service keeps one key with its secrets, and reads it at each start.
	throttleKey := rand.Text() + rand.Text()
	s := &script{out: out, pool: pool, balancer: "http://" + listener.Addr().String()}
	var addrs []string
	for i := range 3 {
		r, err := startReplica(replicaConfig{Name: fmt.Sprint("replica ", i+1), DSN: store, ThrottleKey: throttleKey})
		if err != nil {
			return err
		}
		defer r.stop()
		s.replicas = append(s.replicas, r)
		addrs = append(addrs, r.Addr)
	}
	server := &http.Server{Handler: newBalancer(addrs), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	go server.Serve(listener)
	defer server.Close()

	if err := s.play(ctx); err != nil {
		return err
	}
	if serve {
		fmt.Fprintf(out, welcome, s.balancer)
		<-ctx.Done()
	}
	return nil
}

const welcome = `
The service keeps running on two replicas, with three users FOR TRYING OUT ONLY:
alice, bob and operator (an Administrator), password "password".

  HOST=%s
  curl --location --request GET "$HOST/Token" \
    --header 'Content-Type: application/json' \
    --data-urlencode 'grant_type=password' \
    --data-urlencode 'username=alice' \
    --data-urlencode 'password=password'

  curl -i -H "Authorization: Bearer $TOKEN" "$HOST/me"   # X-Replica names the replica
  curl "$HOST/cache"                                     # statistics of one replica's cache

With the operator's token, and the userId in alice's response:

  curl -i -X DELETE -H "Authorization: Bearer $OPERATOR" "$HOST/users/$ID/tokens"

Ctrl-C stops.
`
