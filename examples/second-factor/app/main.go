// App prints the code that an authenticator app shows for a secret.
//
//	go run ./examples/second-factor/app [-next] SECRET
package main

import (
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/pquerna/otp/totp"
)

func main() {
	next := flag.Bool("next", false, "print the code of the next 30 seconds")
	flag.Parse()
	at := time.Now()
	if *next {
		at = at.Add(30 * time.Second)
	}
	code, err := totp.GenerateCode(flag.Arg(0), at)
	if err != nil {
		log.Fatal("app: the argument must be a secret in base32: ", err)
	}
	fmt.Println(code)
}
