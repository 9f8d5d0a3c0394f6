package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/init/control"
	"holdfast/services/pki"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write openapi.json")

func TestCalls(t *testing.T) {
	names, places := map[string]bool{}, map[string]bool{}
	mux := http.NewServeMux() // panics on patterns that overlap
	for _, c := range Calls() {
		if place := c.Method + " " + c.Path; names[c.Name] || places[place] {
			t.Errorf("%s, %s is there twice", c.Name, place)
		} else {
			names[c.Name], places[place] = true, true
			mux.Handle(place, http.NotFoundHandler())
		}
		if !slices.Contains(pki.Roles(), c.Role) {
			t.Errorf("%s: role is %q", c.Name, c.Role)
		}
		if c.Method != http.MethodGet && c.Role == pki.Reader && c.Name != ValidateConfig {
			t.Errorf("%s: a reader may change something", c.Name)
		}
		if c.Method == http.MethodGet && c.Takes != "" {
			t.Errorf("%s: a GET takes a body", c.Name)
		}
		if c.Answer == nil || !strings.HasSuffix(c.Summary, ".") || !strings.HasPrefix(c.Path, "/v1/") {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
}

// What PID 1 can be asked has a call here.
func TestControlIsCovered(t *testing.T) {
	for call, name := range map[control.Call]string{
		control.CallHello: GetVersion, control.CallList: ListServices, control.CallStatus: GetService, control.CallLogs: ReadLogs,
		control.CallEvents: WatchEvents, control.CallStart: StartService, control.CallStop: StopService, control.CallRestart: RestartService,
		control.CallPowerOff: PowerOff, control.CallReboot: Reboot,
	} {
		if !slices.Contains(control.Calls[:], call) || !slices.ContainsFunc(Calls(), func(c Call) bool { return c.Name == name }) {
			t.Errorf("%s, %s", call, name)
		}
	}
	if len(control.Calls) != 10 {
		t.Errorf("PID 1 has %d calls, here are 10", len(control.Calls))
	}
}

func TestDocument(t *testing.T) {
	got, err := json.MarshalIndent(Describe(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("openapi.json is not what the table of calls says; write it with: go test ./services/api -update")
	}
}

// Every answer, filled with something everywhere, is as the document says, and
// no property is missing there.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	text, err := json.Marshal(Describe())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	seen := 0
	d := Describe()
	for _, call := range Calls() {
		if call.Planned {
			continue
		}
		ref := d.ref(reflect.TypeOf(call.Answer)).Ref
		s, err := c.Compile("openapi.json" + ref)
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.New(reflect.TypeOf(call.Answer)).Elem()
		fill(v)
		text, err := json.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(instance); err != nil {
			t.Errorf("%s: %v", call.Name, err)
		}
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		for key := range instance.(map[string]any) {
			if d.Components.Schemas[name].Properties[key] == nil {
				t.Errorf("%s: the document lacks %s.%s", call.Name, name, key)
			}
			seen++
		}
	}
	if seen < 50 {
		t.Errorf("only %d properties seen", seen)
	}
}

// fill gives every field a value that encoding/json does not leave out.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8:
		v.SetUint(1)
	}
}
