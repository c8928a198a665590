// Command gateway runs the gateway of Taskgate against RabbitMQ and Redis.
package main

import (
	"os"

	"github.com/taskgate/taskgate/internal/app"
	"github.com/taskgate/taskgate/internal/config"
)

func main() { os.Exit(app.Main(config.Gateway, app.OS(os.Args[1:], os.Environ()))) }
