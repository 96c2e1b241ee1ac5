//! What is in the cloud: a cluster's objects and innocents that look like them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::proxy::Call;
use super::wire::Message;

const EC2: (&str, &str) = ("ec2", "2016-11-15");
const CLASSIC: (&str, &str) = ("elasticloadbalancing", "2012-06-01");
const SECOND: (&str, &str) = ("elasticloadbalancing", "2015-12-01");

/// The tag that says that the cluster owns a thing.
pub const MINE: (&str, &str) = ("kubernetes.io/cluster/prod-web", "owned");
/// The same of a cluster whose name begins alike.
pub const THEIRS: (&str, &str) = ("kubernetes.io/cluster/prod-web2", "owned");
const SHARED: (&str, &str) = ("kubernetes.io/cluster/prod-web", "shared");

/// A cloud with things in it.
pub struct World {
    at: SocketAddr,
    /// What belongs to the cluster, by name: all of it is to go.
    pub mine: BTreeMap<&'static str, String>,
    /// What does not.
    pub others: BTreeMap<&'static str, String>,
    subnets: Vec<String>,
    vpc: String,
}

impl World {
    /// An empty one, with a network.
    pub fn empty(at: SocketAddr) -> Self {
        let mut world =
            Self { at, mine: BTreeMap::new(), others: BTreeMap::new(), subnets: Vec::new(), vpc: String::new() };
        world.vpc = world.ec2("DescribeVpcs", &[], "vpcId");
        world.subnets = texts(&world.call(EC2, "DescribeSubnets", &[]), "subnetId").into_iter().collect();
        world
    }

    /// One object of every kind that is to go, and as many look-alikes as there are ways to be mistaken.
    pub fn full(at: SocketAddr) -> Self {
        let mut world = Self::empty(at);
        world.groups();
        world.balancers();
        world.volumes();
        world.rest();
        world
    }

    fn call(&self, (service, version): (&str, &str), action: &str, params: &[(&str, &str)]) -> String {
        let params: Vec<_> = [("Action", action)].iter().chain(params).copied().collect();
        let answer = Message::call(service, version, &params).exchange(self.at).unwrap();
        assert!(answer.first.contains(" 200"), "{action} {params:?}: {} {}", answer.first, answer.body);
        answer.body
    }

    /// Calls EC2, for the text of an element of the answer.
    fn ec2(&self, action: &str, params: &[(&str, &str)], wanted: &str) -> String {
        text(&self.call(EC2, action, params), wanted)
    }

    /// Calls EC2 to make something with tags.
    fn make(&self, action: &str, kind: &str, params: &[(&str, &str)], tags: &[(&str, &str)], wanted: &str) -> String {
        let mut tagged = vec![("TagSpecification.1.ResourceType".to_owned(), kind.to_owned())];
        for (n, (key, value)) in (1..).zip(tags) {
            tagged.push((format!("TagSpecification.1.Tag.{n}.Key"), (*key).to_owned()));
            tagged.push((format!("TagSpecification.1.Tag.{n}.Value"), (*value).to_owned()));
        }
        let tagged: Vec<_> = tagged.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let tagged = if tags.is_empty() { &[][..] } else { &tagged };
        self.ec2(action, &[params, tagged].concat(), wanted)
    }

    fn group(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let params = [("GroupName", name), ("GroupDescription", "d"), ("VpcId", &self.vpc)];
        self.make("CreateSecurityGroup", "security-group", &params, tags, "groupId")
    }

    /// A rule in one group that names another; its id.
    fn rule(&self, holder: &str, named: &str) -> String {
        let params = [
            ("GroupId", holder),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "30000"),
            ("IpPermissions.1.ToPort", "32767"),
            ("IpPermissions.1.Groups.1.GroupId", named),
        ];
        self.ec2("AuthorizeSecurityGroupIngress", &params, "securityGroupRuleId")
    }

    /// A volume; its id.
    pub fn volume(&self, tags: &[(&str, &str)]) -> String {
        let params = [("Size", "8"), ("AvailabilityZone", "eu-central-1a"), ("VolumeType", "gp3")];
        self.make("CreateVolume", "volume", &params, tags, "volumeId")
    }

    fn classic(&self, name: &'static str, group: &str, tags: &[(&str, &str)]) -> String {
        let mut params = vec![
            ("LoadBalancerName", name),
            ("Listeners.member.1.Protocol", "TCP"),
            ("Listeners.member.1.LoadBalancerPort", "80"),
            ("Listeners.member.1.InstancePort", "30080"),
            ("Subnets.member.1", &self.subnets[0]),
            ("SecurityGroups.member.1", group),
        ];
        for (key, value) in tags {
            params.extend([("Tags.member.1.Key", *key), ("Tags.member.1.Value", *value)]);
        }
        self.call(CLASSIC, "CreateLoadBalancer", &params);
        name.to_owned()
    }

    fn second(&self, action: &str, name: &str, params: &[(&str, &str)], tags: &[(&str, &str)], wanted: &str) -> String {
        let mut params = [&[("Name", name)], params].concat();
        for (key, value) in tags {
            params.extend([("Tags.member.1.Key", *key), ("Tags.member.1.Value", *value)]);
        }
        text(&self.call(SECOND, action, &params), wanted)
    }

    fn balancer(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let params =
            [("Type", "network"), ("Subnets.member.1", &*self.subnets[0]), ("Subnets.member.2", &self.subnets[1])];
        self.second("CreateLoadBalancer", name, &params, tags, "LoadBalancerArn")
    }

    fn targets(&self, name: &str, tags: &[(&str, &str)]) -> String {
        let params = [("Protocol", "TCP"), ("Port", "80"), ("VpcId", &*self.vpc)];
        self.second("CreateTargetGroup", name, &params, tags, "TargetGroupArn")
    }

    fn listener(&self, balancer: &str, targets: &str) -> String {
        let params = [
            ("LoadBalancerArn", balancer),
            ("Protocol", "TCP"),
            ("Port", "80"),
            ("DefaultActions.member.1.Type", "forward"),
            ("DefaultActions.member.1.TargetGroupArn", targets),
        ];
        text(&self.call(SECOND, "CreateListener", &params), "ListenerArn")
    }

    fn groups(&mut self) {
        let elb = self.group("k8s-elb-a1", &[MINE]);
        let nodes = self.group("nodes", &[SHARED]);
        let theirs = self.group("k8s-elb-b1", &[THEIRS]);
        self.mine.insert("rule", self.rule(&nodes, &elb));
        self.others.insert("rule that names another's group", self.rule(&nodes, &theirs));
        self.others.insert("group by its name only", self.group("k8s-elb-prod-web", &[("Name", "prod-web")]));
        self.mine.insert("group", elb);
        self.others.insert("group that is shared", nodes);
        self.others.insert("group of another", theirs);
    }

    fn balancers(&mut self) {
        let (mine, theirs) = (self.mine["group"].clone(), self.others["group of another"].clone());
        self.mine.insert("classic", self.classic("a1", &mine, &[MINE]));
        self.others.insert("classic of another", self.classic("b1", &theirs, &[THEIRS]));
        self.others.insert("classic by its name only", self.classic("prod-web", &theirs, &[]));
        let (balancer, targets) =
            (self.balancer("k8s-a", &[("elbv2.k8s.aws/cluster", "prod-web")]), self.targets("k8s-a", &[MINE]));
        self.mine.insert("listener", self.listener(&balancer, &targets));
        self.mine.insert("balancer", balancer);
        self.mine.insert("targets", targets);
        let (balancer, targets) =
            (self.balancer("prod-web", &[("elbv2.k8s.aws/cluster", "prod-web2")]), self.targets("prod-web", &[THEIRS]));
        self.others.insert("listener of another", self.listener(&balancer, &targets));
        self.others.insert("balancer of another", balancer);
        self.others.insert("targets of another", targets);
    }

    fn volumes(&mut self) {
        let made = ("kubernetes.io/created-for/pvc/name", "data");
        let csi = ("ebs.csi.aws.com/cluster", "true");
        for (name, tags) in [
            ("volume", &[MINE, made][..]),
            ("volume, older tag", &[("KubernetesCluster", "prod-web")]),
            ("volume that is only recorded", &[csi]),
        ] {
            self.mine.insert(name, self.volume(tags));
        }
        for (name, tags) in [
            ("volume of another", &[THEIRS, made][..]),
            ("volume that is shared", &[SHARED]),
            ("volume of two", &[MINE, THEIRS]),
            ("volume by its name only", &[("Name", "prod-web-dynamic-pvc-1"), ("cluster", "prod-web")]),
            ("volume of some cluster", &[csi, made]),
            ("volume without tags", &[]),
        ] {
            self.others.insert(name, self.volume(tags));
        }
        let (volume, theirs) = (self.mine["volume"].clone(), self.others["volume of another"].clone());
        let take = |volume: &str, tags: &[(&str, &str)]| {
            self.make("CreateSnapshot", "snapshot", &[("VolumeId", volume)], tags, "snapshotId")
        };
        let (mine, plain, of_theirs) = (take(&volume, &[MINE]), take(&volume, &[]), take(&theirs, &[THEIRS]));
        self.mine.insert("snapshot", mine);
        self.others.insert("snapshot without tags", plain);
        self.others.insert("snapshot of another", of_theirs);
    }

    fn rest(&mut self) {
        let address = |tags: &[(&str, &str)]| {
            self.make("AllocateAddress", "elastic-ip", &[("Domain", "vpc")], tags, "allocationId")
        };
        let (mine, plain) = (address(&[MINE]), address(&[]));
        let interface = |group: &str, tags: &[(&str, &str)]| {
            let params = [("SubnetId", &*self.subnets[0]), ("SecurityGroupId.1", group)];
            self.make("CreateNetworkInterface", "network-interface", &params, tags, "networkInterfaceId")
        };
        let (eni, theirs) =
            (interface(&self.mine["group"], &[MINE]), interface(&self.others["group of another"], &[THEIRS]));
        let machine = |tags: &[(&str, &str)]| {
            let params =
                [("ImageId", "ami-12345678"), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.medium")];
            self.make("RunInstances", "instance", &params, tags, "instanceId")
        };
        let (node, other) = (machine(&[MINE]), machine(&[THEIRS]));
        let attach = |volume: &str, to: &str| {
            self.ec2("AttachVolume", &[("VolumeId", volume), ("InstanceId", to), ("Device", "/dev/sdf")], "status")
        };
        attach(&self.mine["volume, older tag"], &node);
        attach(&self.others["volume of another"], &other);
        self.mine.extend([("address", mine), ("interface", eni)]);
        self.others.extend([("address without tags", plain), ("interface of another", theirs)]);
        self.others.extend([("machine of the cluster", node), ("machine of another", other)]);
    }

    /// What a sweep for the cluster is told.
    pub fn asked(&self, policy: &str) -> Value {
        let recorded = self.mine.get("volume that is only recorded");
        let objects: Vec<_> =
            recorded.iter().map(|id| json!({"kind": "volume", "id": id, "region": "eu-central-1"})).collect();
        json!({"policy": policy, "earlier": {"record": {"cloud": {"tag_names": ["prod-web"], "objects": objects}}}})
    }

    /// The ids of everything that is there, whatever it is.
    pub fn ids(&self) -> BTreeSet<String> {
        let lists = [
            (EC2, "DescribeVolumes", "volumeId"),
            (EC2, "DescribeSnapshots", "snapshotId"),
            (EC2, "DescribeAddresses", "allocationId"),
            (EC2, "DescribeNetworkInterfaces", "networkInterfaceId"),
            (EC2, "DescribeSecurityGroups", "groupId"),
            (EC2, "DescribeInstances", "instanceId"),
            (CLASSIC, "DescribeLoadBalancers", "LoadBalancerName"),
            (SECOND, "DescribeLoadBalancers", "LoadBalancerArn"),
            (SECOND, "DescribeTargetGroups", "TargetGroupArn"),
        ];
        let mut ids: BTreeSet<_> =
            lists.iter().flat_map(|&(service, action, name)| texts(&self.call(service, action, &[]), name)).collect();
        // Rules that name no group go with the group that they are in.
        let rules = self.call(EC2, "DescribeSecurityGroupRules", &[]);
        let naming = rules.split("<item>").filter(|rule| rule.contains("<referencedGroupInfo>"));
        ids.extend(naming.flat_map(|rule| texts(rule, "securityGroupRuleId")));
        let balancers: Vec<_> = ids.iter().filter(|id| id.contains(":loadbalancer/")).cloned().collect();
        for balancer in balancers {
            let listeners = self.call(SECOND, "DescribeListeners", &[("LoadBalancerArn", &balancer)]);
            ids.extend(texts(&listeners, "ListenerArn"));
        }
        ids
    }

    /// The first call that was let through and touches what is not the cluster's: by what was asked for, not by
    /// what is left.
    pub fn wrongly_touched(&self, calls: &[Call]) -> Option<String> {
        let touches = |call: &&Call| {
            // A rule in a group that is shared goes because it names a group of the cluster; a volume is taken
            // off a machine of the cluster.
            let (rule, detach) = (call.action.starts_with("Revoke"), call.action == "DetachVolume");
            let node = Some(self.others["machine of the cluster"].as_str());
            let wrong = |(key, id): &(String, String)| {
                let meant = (rule && key == "GroupId") || (detach && key == "InstanceId" && Some(id.as_str()) == node);
                !meant && self.others.values().any(|other| other == id)
            };
            call.passed && call.changes() && call.params.iter().any(wrong)
        };
        calls.iter().find(touches).map(|call| format!("{call:?}"))
    }

    /// The ids of what is to go.
    pub fn doomed(&self) -> BTreeSet<String> {
        self.mine.values().cloned().collect()
    }
}

/// The text of the first element of a name.
fn text(body: &str, name: &str) -> String {
    let open = format!("<{name}>");
    let (_, rest) = body.split_once(&open).unwrap_or_else(|| panic!("no {name} in {body}"));
    rest.split('<').next().unwrap().to_owned()
}

/// The texts of all elements of a name.
fn texts(body: &str, name: &str) -> BTreeSet<String> {
    let open = format!("<{name}>");
    body.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect()
}
