// Drives a CNI network as container runtimes do it, by libcni with its cache of results:
//
//	libcni add|check|del CONFLIST CONTAINERID NETNS IFNAME    (CAP_ARGS: capability arguments as JSON)
//	libcni gc CONFLIST [CONTAINERID/IFNAME…]                  (the valid attachments)
//	libcni status|validate CONFLIST
//
// Prints what came back as JSON: a result, the supported capabilities, or {"code":…,"msg":…} with exit status 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	value, err := run(context.Background(), os.Args[1:])
	if err != nil {
		value = describe(err)
	}
	if value != nil {
		text, _ := json.Marshal(value)
		fmt.Println(string(text))
	}
	if err != nil {
		os.Exit(1)
	}
}

// A plugin's own error keeps its code; 0 is libcni's.
func describe(err error) any {
	var own *types.Error
	if errors.As(err, &own) {
		return map[string]any{"code": own.Code, "msg": own.Msg, "details": own.Details}
	}
	return map[string]any{"code": 0, "msg": err.Error()}
}

func run(ctx context.Context, words []string) (any, error) {
	if len(words) < 2 {
		return nil, errors.New("usage: libcni VERB CONFLIST …")
	}
	list, err := libcni.ConfListFromFile(words[1])
	if err != nil {
		return nil, err
	}
	cni := libcni.NewCNIConfig(filepath.SplitList(os.Getenv("CNI_PATH")), nil)
	rest := words[2:]
	switch words[0] {
	case "gc":
		return nil, cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: attachments(rest)})
	case "status":
		return nil, cni.GetStatusNetworkList(ctx, list)
	case "validate":
		return cni.ValidateNetworkList(ctx, list)
	}
	if len(rest) != 3 {
		return nil, fmt.Errorf("usage: libcni %s CONFLIST CONTAINERID NETNS IFNAME", words[0])
	}
	container := &libcni.RuntimeConf{ContainerID: rest[0], NetNS: rest[1], IfName: rest[2]}
	if text := os.Getenv("CAP_ARGS"); text != "" {
		if err := json.Unmarshal([]byte(text), &container.CapabilityArgs); err != nil {
			return nil, err
		}
	}
	switch words[0] {
	case "add":
		return cni.AddNetworkList(ctx, list, container)
	case "check":
		return nil, cni.CheckNetworkList(ctx, list, container)
	case "del":
		return nil, cni.DelNetworkList(ctx, list, container)
	}
	return nil, fmt.Errorf("unknown verb %q", words[0])
}

func attachments(words []string) []types.GCAttachment {
	valid := []types.GCAttachment{}
	for _, word := range words {
		id, name, _ := strings.Cut(word, "/")
		valid = append(valid, types.GCAttachment{ContainerID: id, IfName: name})
	}
	return valid
}
