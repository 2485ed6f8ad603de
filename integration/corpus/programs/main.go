// hosts, zones and users as Go's own packages read them: no library, but files of the system
package main

import (
	"fmt"
	"net"
	"os/user"
	"time"
)

func main() {
	hosts, err := net.LookupHost("localhost")
	if err != nil {
		panic(err)
	}
	zone, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		panic(err)
	}
	_, offset := time.Unix(0, 0).In(zone).Zone()
	who, err := user.LookupId("1")
	if err != nil {
		panic(err)
	}
	fmt.Printf("go localhost %s UTC%+d %s\n", hosts[0], offset/3600, who.Username)
}
