package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const pauseImage = "holdfast.local/pause:test"

// setting is what holdfast/hack/components' test hands over: it runs these
// tests with the programs and images that the root file system gets.
type setting struct{ containerd, runc, config, images string }

func readSetting(t *testing.T) setting {
	t.Helper()
	s := setting{os.Getenv("TEST_CONTAINERD"), os.Getenv("TEST_RUNC"), os.Getenv("TEST_CONFIG"), os.Getenv("TEST_IMAGES")}
	if s.containerd == "" || s.runc == "" || s.config == "" || s.images == "" {
		t.Skip("run by go test holdfast/hack/components, which sets TEST_CONTAINERD and others")
	}
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	return s
}

// node is a containerd with everything of its own in one directory.
type node struct {
	setting
	dir string
	log bytes.Buffer
	cmd *exec.Cmd
}

// start runs containerd and waits until it serves CRI.
func (n *node) start(t *testing.T) (cri.ImageServiceClient, cri.RuntimeServiceClient) {
	t.Helper()
	config, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(n.dir, "config.toml")
	if err := os.WriteFile(path, []byte(n.moved(string(config))), 0o644); err != nil {
		t.Fatal(err)
	}
	n.log.Reset()
	n.cmd = exec.Command(filepath.Join(n.containerd, "containerd"), "--config", path)
	n.cmd.Env = append(os.Environ(), "PATH="+n.runc+":"+os.Getenv("PATH"))
	n.cmd.Stderr = &n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+n.dir+"/state/containerd.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	runtime := cri.NewRuntimeServiceClient(conn)
	for {
		if _, err = runtime.Version(ctx, &cri.VersionRequest{}, grpc.WaitForReady(true)); err == nil {
			return cri.NewImageServiceClient(conn), runtime
		}
		select {
		case <-ctx.Done():
			n.stop(t)
			t.Fatalf("containerd does not serve CRI: %v\n%s", err, n.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// moved is the root file system's configuration with every path in n.dir. A
// host that is itself a container may not lower OOM scores, hence the last one.
func (n *node) moved(config string) string {
	return strings.NewReplacer(
		"/var/lib/containerd", n.dir+"/root", "/run/containerd", n.dir+"/state",
		"/usr/share/holdfast/images", n.images,
		"/usr/bin/containerd-shim-runc-v2", filepath.Join(n.containerd, "containerd-shim-runc-v2"),
		`BinaryName = "/usr/bin/runc"`, fmt.Sprintf("BinaryName = %q\nRoot = %q", n.runc+"/runc", n.dir+"/runc"),
		"enable_criu = false", "enable_criu = false\nrestrict_oom_score_adj = true",
	).Replace(config) + fmt.Sprintf("\n[plugins.'io.containerd.shim.v1.manager']\nsocket_dir = %q\n", n.dir+"/s")
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	timer := time.AfterFunc(20*time.Second, func() { n.cmd.Process.Kill() })
	defer timer.Stop()
	n.cmd.Wait() // the status after a signal says nothing
}

// images lists CRI's images: their names, whether each is pinned.
func images(t *testing.T, client cri.ImageServiceClient) map[string]bool {
	t.Helper()
	list, err := client.ListImages(t.Context(), &cri.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	pinned := map[string]bool{}
	for _, image := range list.Images {
		for _, tag := range image.RepoTags {
			pinned[tag] = image.Pinned
		}
	}
	return pinned
}

// TestPreload: CRI's first list has the images, a broken archive costs nothing
// but one line, and a second start imports nothing.
func TestPreload(t *testing.T) {
	n := &node{setting: readSetting(t), dir: t.TempDir()}
	n.images = copyImages(t, n.images)
	if err := os.WriteFile(filepath.Join(n.images, "broken.tar"), []byte("not an archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		client, _ := n.start(t)
		got := images(t, client)
		n.stop(t)
		for _, name := range []string{pauseImage, "holdfast.local/demo:test"} {
			if pinned, ok := got[name]; !ok || !pinned {
				t.Errorf("start %d: %s: listed %v, pinned %v\n%s", round, name, ok, pinned, n.log.String())
			}
		}
		log := n.log.String()
		if count := strings.Count(log, "level=error"); count != 1 || !strings.Contains(log, "broken.tar") {
			t.Errorf("start %d: %d errors, want one, for broken.tar\n%s", round, count, log)
		}
		want := 2
		if round > 0 {
			want = 0
		}
		if count := strings.Count(log, "preloaded image"); count != want {
			t.Errorf("start %d: %d images imported, want %d", round, count, want)
		}
	}
}

// TestRepair: content that a crash took away is imported again.
func TestRepair(t *testing.T) {
	n := &node{setting: readSetting(t), dir: t.TempDir()}
	n.start(t)
	n.stop(t)
	blobs, err := filepath.Glob(n.dir + "/root/io.containerd.content.v1.content/blobs/sha256/*")
	if err != nil || len(blobs) == 0 {
		t.Fatalf("no blobs: %v", err)
	}
	for _, blob := range blobs {
		if err := os.Remove(blob); err != nil {
			t.Fatal(err)
		}
	}
	client, _ := n.start(t)
	got := images(t, client)
	n.stop(t)
	if len(got) != 2 {
		t.Errorf("after its blobs were lost CRI lists %v\n%s", got, n.log.String())
	}
}

// TestPod runs the pause image as a pod and the demo image in it, with nothing but what was preloaded.
func TestPod(t *testing.T) {
	n := &node{setting: readSetting(t), dir: t.TempDir()}
	_, runtime := n.start(t)
	defer n.stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	pod := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "demo", Namespace: "default", Uid: fmt.Sprint("holdfast-test-", os.Getpid())},
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: cgroup(t), SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_POD},
		}},
	}
	sandbox, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		t.Fatalf("run pod: %v\n%s", err, n.log.String())
	}
	defer remove(t, runtime, sandbox.PodSandboxId)
	container, err := runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId:  sandbox.PodSandboxId,
		SandboxConfig: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "demo"},
			Image:    &cri.ImageSpec{Image: "holdfast.local/demo:test"},
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
				ReadonlyRootfs: true, NoNewPrivs: true,
				RunAsUser:    &cri.Int64Value{Value: 65534},
				Capabilities: &cri.Capability{DropCapabilities: []string{"ALL"}},
				Seccomp:      &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault},
			}},
		},
	})
	if err != nil {
		t.Fatalf("create container: %v\n%s", err, n.log.String())
	}
	if _, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: container.ContainerId}); err != nil {
		t.Fatalf("start container: %v\n%s", err, n.log.String())
	}
	status, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container.ContainerId})
	if err != nil || status.Status.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container does not run: %v (%v)\n%s", status, err, n.log.String())
	}
}

// cgroup returns a control group for a pod, gone after the test. A host with
// version 1 has it once for each controller.
func cgroup(t *testing.T) string {
	name := fmt.Sprint("holdfast-test-", os.Getpid())
	t.Cleanup(func() {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			dirs, err := filepath.Glob(pattern + name)
			if err != nil {
				t.Error(err)
			}
			for _, dir := range dirs {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return "/" + name
}

func remove(t *testing.T, runtime cri.RuntimeServiceClient, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Errorf("stop pod: %v", err)
	}
	if _, err := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Errorf("remove pod: %v", err)
	}
}

func copyImages(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return dir
}
