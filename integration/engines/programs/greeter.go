// A web service that looks a name up with the C library.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

// #include <gnu/libc-version.h>
import "C"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, "hello from go") })
		if err := http.ListenAndServe(":8080", nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	addresses, err := net.LookupHost("localhost")
	if err != nil || len(addresses) == 0 {
		fmt.Fprintln(os.Stderr, "localhost:", err)
		os.Exit(1)
	}
	fmt.Println("hello from go, libc", C.GoString(C.gnu_get_libc_version()) != "")
}
