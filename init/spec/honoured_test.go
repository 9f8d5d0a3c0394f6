package spec

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// field is one that can be set: its path, and a specification with it alone.
type field struct {
	path string
	spec *specs.Spec
}

// fieldsOf lists every field of the type below path. set puts a value in its
// place in a new specification.
func fieldsOf(path string, t reflect.Type, set func(v reflect.Value) *specs.Spec) []field {
	switch t.Kind() {
	case reflect.Pointer:
		return fieldsOf(path, t.Elem(), func(v reflect.Value) *specs.Spec {
			p := reflect.New(t.Elem())
			p.Elem().Set(v)
			return set(p)
		})
	case reflect.Slice:
		return fieldsOf(path, t.Elem(), func(v reflect.Value) *specs.Spec {
			s := reflect.MakeSlice(t, 1, 1)
			s.Index(0).Set(v)
			return set(s)
		})
	case reflect.Map:
		m := reflect.MakeMap(t)
		m.SetMapIndex(reflect.ValueOf("key").Convert(t.Key()), reflect.Zero(t.Elem()))
		return []field{{path, set(m)}}
	case reflect.Struct:
		var out []field
		for i := range t.NumField() {
			out = append(out, fieldsOf(join(path, t.Field(i)), t.Field(i).Type, func(v reflect.Value) *specs.Spec {
				s := reflect.New(t).Elem()
				s.Field(i).Set(v)
				return set(s)
			})...)
		}
		return out
	}
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Interface:
		v.Set(reflect.ValueOf("x"))
	default:
		panic("a field of a kind that this test does not know: " + path + " " + t.String())
	}
	return []field{{path, set(v)}}
}

func everyField() []field {
	return fieldsOf("", reflect.TypeFor[specs.Spec](), func(v reflect.Value) *specs.Spec { s := v.Interface().(specs.Spec); return &s })
}

// TestEveryFieldIsHonouredOrRefused sets the fields of specs.Spec one at a
// time: those that the list names pass, and a field that it does not know,
// such as one of a later version, is refused by its name.
func TestEveryFieldIsHonouredOrRefused(t *testing.T) {
	all := everyField()
	if len(all) < 200 {
		t.Fatalf("only %d fields found", len(all))
	}
	known := map[string]bool{}
	for _, f := range all {
		known[f.path] = true
		err := checkHonoured(f.spec)
		if slices.Contains(honoured, f.path) {
			if err != nil {
				t.Errorf("%s: %v", f.path, err)
			}
		} else if err == nil || err.Error() != "fields that are not honoured: "+f.path {
			t.Errorf("%s: got %v, want that this field is refused", f.path, err)
		}
	}
	for _, path := range honoured {
		if !known[path] {
			t.Errorf("%s is honoured, and specs.Spec has no such field", path)
		}
	}
}

// TestFullSpecIsRefusedFieldByField sets every field at once.
func TestFullSpecIsRefusedFieldByField(t *testing.T) {
	full := reflect.New(reflect.TypeFor[specs.Spec]()).Elem()
	fill(full)
	s := full.Interface().(specs.Spec)
	err := checkHonoured(&s)
	if err == nil {
		t.Fatal("a specification with every field was taken")
	}
	refused := strings.Split(strings.TrimPrefix(err.Error(), "fields that are not honoured: "), ", ")
	var want []string
	for _, f := range everyField() {
		if !slices.Contains(honoured, f.path) {
			want = append(want, f.path)
		}
	}
	slices.Sort(want)
	if !slices.Equal(refused, want) {
		t.Errorf("refused are\n%s\nwant\n%s", strings.Join(refused, "\n"), strings.Join(want, "\n"))
	}
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e)
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), e)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Interface:
		v.Set(reflect.ValueOf("x"))
	default:
		v.Set(reflect.ValueOf(1).Convert(v.Type()))
	}
}

func TestUnsetFieldsSayNothing(t *testing.T) {
	for _, s := range []*specs.Spec{{}, {Linux: &specs.Linux{Devices: []specs.LinuxDevice{}, Sysctl: map[string]string{}}, VM: &specs.VM{}}} {
		if err := checkHonoured(s); err != nil {
			t.Error(err)
		}
	}
}
