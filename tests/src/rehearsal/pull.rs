//! Pulling an image that nobody has: nine tries, two kinds of complaint, then the end.
//!
//! Successful pulls are not rehearsed: the recordings have the images on the hosts already.

use super::console::Level;
use super::fleet::HostFault;
use super::spec::Node;
use super::stage::{Options, Script, Stage, Stop};

const WHY: &str = "Error response from daemon: Get \"https://registry.example/v2/\": dial tcp: \
                   lookup registry.example on 192.0.2.53:53: no such host";

/// The first of these hosts that has no images.
pub(crate) fn bare_host<'a>(stage: &Stage, nodes: &'a [Node]) -> Option<&'a Node> {
    nodes.iter().find(|node| stage.fleet.host(&node.address).fault == Some(HostFault::NoImages))
}

/// Three rounds of three tries, and the complaint of the phase that needed the image.
pub(crate) fn fruitless(stage: &mut Stage, node: &Node, options: &Options, phase: &str) -> Result<(), Stop> {
    let (image, at) = (&options.images.tools, &node.address);
    let complaint = format!("Can't pull Docker image [{image}] on host [{at}]: {WHY}");
    let mut script = Script::new();
    for round in 0..3 {
        for attempt in 1..=3 {
            let after = if round == 2 && attempt == 1 { 3000 } else { 5 };
            script.say(after, format!("Pulling image [{image}] on host [{at}], try #{attempt}"));
            script.line(10, Level::Warning, complaint.clone());
        }
    }
    script.line(1, Level::Warning, format!("[{phase}] {complaint}"));
    stage.play(script)
}

/// The end of a run that could not pull.
pub(crate) fn fatal(node: &Node, options: &Options) -> String {
    format!("[Failed to pull image [{}] on host [{}]: {WHY}]", options.images.tools, node.address)
}
