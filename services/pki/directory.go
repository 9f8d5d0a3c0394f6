package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"holdfast/services/atomicfile"
)

// Directory is an authority on disk.
type Directory struct {
	Path        string
	Certificate *x509.Certificate
	Revoked     *x509.RevocationList
}

// Client is a certificate that the authority issued, and where it stands.
type Client struct {
	Certificate     *x509.Certificate
	CertificateFile string
	KeyFile         string // not there where only the holder has the key
}

// Init makes a new authority in a directory that is not there yet or is empty.
func Init(path, name string, key *ecdsa.PrivateKey, life time.Duration, now time.Time) (*Directory, error) {
	a, err := NewAuthority(name, key, life, now)
	if err != nil {
		return nil, err
	}
	list, err := a.Revoke(nil, nil, now)
	if err != nil {
		return nil, err
	}
	text, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(path)), 0o700); err != nil {
		return nil, err
	}
	err = atomicfile.NewDir(path, []atomicfile.File{
		{Name: "ca.key", Mode: 0o600, Data: text},
		{Name: "ca.crt", Mode: 0o644, Data: EncodeCertificate(a.Certificate)},
		{Name: "ca.crl", Mode: 0o644, Data: EncodeList(list)},
	})
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make authority: %s is not empty; nothing was changed", path)
	} else if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return &Directory{path, a.Certificate, list}, nil
}

// Open reads an authority, but not yet its key.
func Open(path string) (*Directory, error) {
	d := &Directory{Path: path}
	data, err := os.ReadFile(d.file("ca.crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no authority (ca.crt is missing); make one with: holdfast pki init", path)
	} else if err != nil {
		return nil, err
	}
	if d.Certificate, err = ParseCertificate(data); err == nil {
		err = checkAuthority(d.Certificate)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %w", d.file("ca.crt"), err)
	}
	return d, d.readList()
}

func (d *Directory) readList() error {
	data, err := os.ReadFile(d.file("ca.crl"))
	if err != nil {
		return err
	}
	certificates, lists, err := parseBundle(data)
	if err == nil && (len(certificates) != 0 || len(lists) != 1) {
		err = errors.New("holds something else, expected one revocation list")
	} else if err == nil && lists[0].CheckSignatureFrom(d.Certificate) != nil {
		err = errors.New("is not signed by the authority beside it")
	}
	if err != nil {
		return fmt.Errorf("%s %w", d.file("ca.crl"), err)
	}
	d.Revoked = lists[0]
	return nil
}

// Bundle is what nodes get: the authority's certificate and its revocations.
func (d *Directory) Bundle() []byte {
	return append(EncodeCertificate(d.Certificate), EncodeList(d.Revoked)...)
}

// Trust is the same, ready for use.
func (d *Directory) Trust() (Trust, error) {
	return NewTrust([]*x509.Certificate{d.Certificate}, []*x509.RevocationList{d.Revoked})
}

// Issue makes a certificate for a name that has none. Without a public key it
// makes a private one too.
func (d *Directory) Issue(r Request, now time.Time) (Client, error) {
	a, err := d.authority()
	if err != nil {
		return Client{}, err
	}
	var files []atomicfile.File
	if r.Public == nil {
		key, err := NewKey()
		if err != nil {
			return Client{}, err
		}
		text, err := EncodeKey(key)
		if err != nil {
			return Client{}, err
		}
		r.Public = key.Public()
		files = append(files, atomicfile.File{Name: "client.key", Mode: 0o600, Data: text})
	}
	c, err := a.Issue(r, now)
	if err != nil {
		return Client{}, err
	}
	files = append(files, atomicfile.File{Name: "client.crt", Mode: 0o644, Data: EncodeCertificate(c)})
	if err := os.MkdirAll(d.file("clients"), 0o700); err != nil {
		return Client{}, err
	}
	err = atomicfile.NewDir(d.file("clients", r.Name), files)
	if errors.Is(err, fs.ErrExist) {
		return Client{}, fmt.Errorf("%s has a certificate already; renew it with: holdfast pki renew %s", r.Name, r.Name)
	}
	return d.client(r.Name, c), err
}

// Renew replaces a client's certificate by one with the same name, role and key.
func (d *Directory) Renew(name string, life time.Duration, now time.Time) (Client, error) {
	c, err := d.Client(name)
	if err != nil {
		return Client{}, err
	}
	if d.IsRevoked(c.Certificate.SerialNumber) {
		return Client{}, fmt.Errorf("certificate of %s is revoked, and its key with it; remove %s and issue a new one", name, d.file("clients", name))
	}
	a, err := d.authority()
	if err != nil {
		return Client{}, err
	}
	old := c.Certificate
	if c.Certificate, err = a.Renew(old, life, now); err != nil {
		return Client{}, err
	}
	if err := d.keepEarlier(name, old, now); err != nil {
		return Client{}, err
	}
	return c, atomicfile.Replace(c.CertificateFile, 0o644, EncodeCertificate(c.Certificate))
}

// keepEarlier keeps a certificate that is being replaced for as long as nodes
// accept it: revoking a client has to revoke it as well.
func (d *Directory) keepEarlier(name string, old *x509.Certificate, now time.Time) error {
	earlier, err := d.earlier(name)
	if err != nil {
		return err
	}
	for _, c := range earlier {
		if now.After(c.NotAfter.Add(Skew)) {
			if err := os.Remove(d.file("clients", name, Serial(c.SerialNumber)+".crt")); err != nil {
				return err
			}
		}
	}
	return atomicfile.Replace(d.file("clients", name, Serial(old.SerialNumber)+".crt"), 0o644, EncodeCertificate(old))
}

func (d *Directory) earlier(name string) ([]*x509.Certificate, error) {
	files, err := filepath.Glob(d.file("clients", name, "????????????????????????????????.crt"))
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		c, err := ParseCertificate(data)
		if err != nil {
			return nil, fmt.Errorf("%s %w", f, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// Revocable are the serial numbers to revoke for a client: of every certificate
// for its key that could still be used.
func (d *Directory) Revocable(name string, now time.Time) ([]*big.Int, error) {
	c, err := d.Client(name)
	if err != nil {
		return nil, err
	}
	earlier, err := d.earlier(name)
	if err != nil {
		return nil, err
	}
	serials := []*big.Int{c.Certificate.SerialNumber}
	for _, e := range earlier {
		if !now.After(e.NotAfter.Add(Skew)) {
			serials = append(serials, e.SerialNumber)
		}
	}
	return serials, nil
}

// Revoke adds serial numbers to the list.
func (d *Directory) Revoke(serials []*big.Int, now time.Time) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.readList(); err != nil {
		return err
	}
	a, err := d.authority()
	if err != nil {
		return err
	}
	list, err := a.Revoke(d.Revoked, serials, now)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(d.file("ca.crl"), 0o644, EncodeList(list)); err != nil {
		return err
	}
	d.Revoked = list
	return nil
}

// IsRevoked reports whether a serial number is on the list.
func (d *Directory) IsRevoked(serial *big.Int) bool {
	return hasSerial(d.Revoked.RevokedCertificateEntries, serial)
}

// Client finds a client by its name.
func (d *Directory) Client(name string) (Client, error) {
	if err := checkName(name); err != nil {
		return Client{}, fmt.Errorf("client's name is %q: %w", name, err)
	}
	file := d.file("clients", name, "client.crt")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Client{}, fmt.Errorf("%s has no certificate here; make one with: holdfast pki issue %s --role ROLE", name, name)
	} else if err != nil {
		return Client{}, err
	}
	c, err := ParseCertificate(data)
	if err != nil {
		return Client{}, fmt.Errorf("%s %w", file, err)
	}
	if c.Subject.CommonName != name {
		return Client{}, fmt.Errorf("%s is the certificate of %q, expected that of %s", file, c.Subject.CommonName, name)
	}
	return d.client(name, c), nil
}

// Clients are all clients, by name.
func (d *Directory) Clients() ([]Client, error) {
	entries, err := os.ReadDir(d.file("clients"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var all []Client
	for _, e := range entries {
		if e.Name()[0] == '.' { // left by a crash
			continue
		}
		c, err := d.Client(e.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return slices.Clip(all), nil
}

func (d *Directory) client(name string, c *x509.Certificate) Client {
	return Client{c, d.file("clients", name, "client.crt"), d.file("clients", name, "client.key")}
}

func (d *Directory) file(names ...string) string {
	return filepath.Join(append([]string{d.Path}, names...)...)
}

// authority reads the key.
func (d *Directory) authority() (*Authority, error) {
	key, err := ReadKey(d.file("ca.key"))
	if err != nil {
		return nil, err
	}
	if !match(key, d.Certificate) {
		return nil, fmt.Errorf("%s is not the key of %s", d.file("ca.key"), d.file("ca.crt"))
	}
	return &Authority{d.Certificate, key}, nil
}

// ReadKey reads a key file that nobody else can read.
func ReadKey(file string) (crypto.Signer, error) {
	data, err := atomicfile.ReadPrivate(file)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s %w", file, err)
	}
	return key, nil
}

// lock keeps two revocations from losing one of them.
func (d *Directory) lock() (unlock func(), err error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another program is at work in %s; try again", d.Path)
	}
	return func() { f.Close() }, nil
}
