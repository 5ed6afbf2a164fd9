// Command lint does with a kustomization what `kubectl apply` and the API server would do: it renders it, refuses unknown
// fields, sets defaults, and validates each object with the server's own code. Pods have to fulfil the pod security standard
// "restricted". It prints the objects as JSON, one a line, or what is wrong.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	standards "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

var decoder = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

func main() {
	if err := lint(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func lint(folder string) error {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return err
	}
	var wrong []error
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return err
		}
		object, kind, err := decoder.Decode(text, nil, nil)
		if err == nil {
			err = errors.Join(validate(object, kind), confined(object))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %s: %w", resource.GetKind(), resource.GetName(), err))
			continue
		}
		line, err := json.Marshal(object)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return errors.Join(wrong...)
}

// validate sets the defaults, and says what the API server would refuse.
func validate(object runtime.Object, kind *schema.GroupVersionKind) error {
	legacyscheme.Scheme.Default(object)
	internal := schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal}
	converted, err := legacyscheme.Scheme.ConvertToVersion(object, internal)
	if err != nil {
		return err
	}
	var found field.ErrorList
	switch object := converted.(type) {
	case *apps.StatefulSet:
		options := podutil.GetValidationOptionsFromPodTemplate(&object.Spec.Template, nil)
		found = appsvalidation.ValidateStatefulSet(object, appsvalidation.StatefulSetValidationOptions{}, options)
	case *core.Namespace:
		found = corevalidation.ValidateNamespace(object)
	case *core.ConfigMap:
		found = corevalidation.ValidateConfigMap(object)
	case *core.Service:
		// The server's registry does that before it looks.
		object.Spec.ClusterIPs = []string{object.Spec.ClusterIP}
		found = corevalidation.ValidateServiceCreate(object)
	case *core.ServiceAccount:
		found = corevalidation.ValidateServiceAccount(object)
	case *policy.PodDisruptionBudget:
		found = policyvalidation.ValidatePodDisruptionBudget(object, policyvalidation.PodDisruptionBudgetValidationOptions{})
	case *networking.NetworkPolicy:
		found = networkingvalidation.ValidateNetworkPolicy(object, networkingvalidation.NetworkPolicyValidationOptions{})
	default:
		return errors.New("this program can't validate it")
	}
	return found.ToAggregate()
}

// confined says what of a pod the standard "restricted" forbids.
func confined(object runtime.Object) error {
	set, ok := object.(*appsv1.StatefulSet)
	if !ok {
		return nil
	}
	evaluator, err := standards.NewEvaluator(standards.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	results := evaluator.EvaluatePod(level, &set.Spec.Template.ObjectMeta, &set.Spec.Template.Spec)
	if result := standards.AggregateCheckResults(results); !result.Allowed {
		return errors.New(result.ForbiddenDetail())
	}
	return nil
}
