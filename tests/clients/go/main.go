// Sends events with fluent-logger-golang: `fluent-go SCENARIO CONFIG RECORDS TIME`, all but the scenario in JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fluent/fluent-logger-golang/fluent"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Numbers as they were written: an integer stays one.
func records(text string) []map[string]interface{} {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var found []map[string]interface{}
	must(decoder.Decode(&found))
	for _, record := range found {
		for key, value := range record {
			record[key] = plain(value)
		}
	}
	return found
}

func plain(value interface{}) interface{} {
	switch v := value.(type) {
	case json.Number:
		if whole, err := v.Int64(); err == nil {
			return whole
		}
		fraction, err := v.Float64()
		must(err)
		return fraction
	case map[string]interface{}:
		for key, inner := range v {
			v[key] = plain(inner)
		}
	case []interface{}:
		for i, inner := range v {
			v[i] = plain(inner)
		}
	}
	return value
}

// What Docker's log driver sends: strings alone, a line of more than 16 KiB in parts, bytes as they came.
func docker(logger *fluent.Fluent, when time.Time) {
	message := func(log string, more map[string]string) {
		record := map[string]string{
			"container_id":   "4ca5e5b06f26b8f6a9a7d4ef0e1f9d6f0e7e8c4a8f35d1c6a1a54ee5d2b9f2f0",
			"container_name": "/shop", "source": "stdout", "log": log, "com.example.team": "blue",
		}
		for key, value := range more {
			record[key] = value
		}
		must(logger.PostWithTime("docker.4ca5e5b06f26", when, record))
	}
	part := func(ordinal, last string) map[string]string {
		return map[string]string{"partial_message": "true", "partial_id": "0f1e", "partial_ordinal": ordinal, "partial_last": last}
	}
	message("GET /items/1 200", nil)
	message(strings.Repeat("x", 16*1024), part("1", "false"))
	message("end", part("2", "true"))
	message("caf\xe9", nil)
}

func main() {
	var config fluent.Config
	must(json.Unmarshal([]byte(os.Args[2]), &config))
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	must(err)
	when := time.UnixMilli(int64(seconds * 1000))
	config.ReadTimeout = 10 * time.Second
	config.WriteTimeout = 10 * time.Second
	logger, err := fluent.New(config)
	must(err)
	if os.Args[1] == "docker" {
		docker(logger, when)
	} else {
		for _, record := range records(os.Args[3]) {
			must(logger.PostWithTime("app.go", when, record))
		}
	}
	must(logger.Close())
}
