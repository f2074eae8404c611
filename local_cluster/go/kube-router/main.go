// kube-router's network policy controller alone, for a cluster whose traffic is all on one node.
//
// The whole program also routes, balances and watches every object of the cluster: linking it takes minutes more. Pods
// of simulated nodes send nothing and get nothing, so this one does not even look at them.
package main

import (
	"flag"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

func main() {
	config := options.NewKubeRouterConfig()
	config.EnableIPv4, config.RunFirewall = true, true
	flag.StringVar(&config.Kubeconfig, "kubeconfig", "", "how the API server is reached")
	flag.StringVar(&config.HostnameOverride, "node", "", "the node whose pods are guarded")
	flag.StringVar(&config.ClusterIPCIDRs[0], "service-cluster-ip-range", "", "the addresses of Services")
	health := flag.String("health-address", "", "where /healthz answers 200 once rules are kept")
	flag.Parse()

	access, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	exitOn(err)
	client, err := kubernetes.NewForConfig(access)
	exitOn(err)
	stop := make(chan struct{})
	controller, err := newController(client, config, stop)
	exitOn(err)

	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(serveHealth(*health), stop, &running)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	close(stop)
	running.Wait()
}

func newController(
	client kubernetes.Interface, config *options.KubeRouterConfig, stop <-chan struct{},
) (*netpol.NetworkPolicyController, error) {
	all := informers.NewSharedInformerFactory(client, 0)
	ofNode := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(
		func(asked *metav1.ListOptions) { asked.FieldSelector = "spec.nodeName=" + config.HostnameOverride },
	))
	pods := ofNode.Core().V1().Pods().Informer()
	namespaces := all.Core().V1().Namespaces().Informer()
	policies := all.Networking().V1().NetworkPolicies().Informer()
	for _, factory := range []informers.SharedInformerFactory{all, ofNode} {
		factory.Start(stop)
		factory.WaitForCacheSync(stop)
	}
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return nil, err
	}
	controller, err := netpol.NewNetworkPolicyController(
		client, config, pods, policies, namespaces, &sync.Mutex{}, tables, sets,
	)
	if err != nil {
		return nil, err
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods:       controller.PodEventHandler,
		namespaces: controller.NamespaceEventHandler,
		policies:   controller.NetworkPolicyEventHandler,
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	return controller, nil
}

// serveHealth returns where the controller tells that it begins to write the rules anew.
func serveHealth(address string) chan<- *healthcheck.ControllerHeartbeat {
	beats, begun := make(chan *healthcheck.ControllerHeartbeat), atomic.Bool{}
	go func() {
		for range beats {
			begun.Store(true)
		}
	}()
	http.HandleFunc("/healthz", func(answer http.ResponseWriter, _ *http.Request) {
		if !begun.Load() {
			answer.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	go func() { exitOn(http.ListenAndServe(address, nil)) }()
	return beats
}

func exitOn(err error) {
	if err != nil {
		klog.ErrorS(err, "kube-router cannot go on")
		os.Exit(1)
	}
}
