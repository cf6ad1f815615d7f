// Calls one method of a container runtime's CRI, as a kubelet does:
//
//	cri METHOD <REQUEST       (of RuntimeService; request and answer are the protocol's own messages as JSON)
//
// Prints the answer, or {"code":…,"message":…} with exit status 1. The socket is containerd's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	socket = "unix:///run/containerd/containerd.sock"
	// The kubelet's for most calls.
	deadline = 2 * time.Minute
)

func main() {
	text, err := run(os.Args[1:])
	if err != nil {
		answer := status.Convert(err)
		text, _ = json.Marshal(map[string]string{"code": answer.Code().String(), "message": answer.Message()})
	}
	fmt.Println(string(text))
	if err != nil {
		os.Exit(1)
	}
}

func run(words []string) ([]byte, error) {
	if len(words) != 1 {
		return nil, fmt.Errorf("usage: cri METHOD <REQUEST")
	}
	service := runtime.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services().ByName("RuntimeService")
	method := service.Methods().ByName(protoreflect.Name(words[0]))
	if method == nil {
		return nil, fmt.Errorf("CRI has no method %q", words[0])
	}
	request, err := message(method.Input())
	if err != nil {
		return nil, err
	}
	answer, err := message(method.Output())
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(text, request); err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	path := fmt.Sprintf("/%s/%s", service.FullName(), method.Name())
	if err := connection.Invoke(ctx, path, request, answer); err != nil {
		return nil, err
	}
	return protojson.Marshal(answer)
}

func message(of protoreflect.MessageDescriptor) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(of.FullName())
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}
