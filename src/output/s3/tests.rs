//! Parameters: what they come to, and what is wrong with them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Diagnostics;
use crate::output::service::testing::configured;

fn build(parameters: &str) -> Result<(S3, Diagnostics), Diagnostics> {
    let bucket = if parameters.contains("s3_bucket") { "" } else { "s3_bucket logs" };
    let text = format!("<match **>\n@type s3\n{bucket}\n{parameters}\n<buffer>\n@type memory\n</buffer>\n</match>\n");
    let text =
        if parameters.contains("<buffer") { text.replace("<buffer>\n@type memory\n</buffer>\n", "") } else { text };
    configured(&text, true)
}

fn fault(parameters: &str) -> String {
    build(parameters).err().unwrap_or_else(|| panic!("no fault in {parameters}")).render()
}

/// The headers of an object, as lines.
fn headers(parameters: &str) -> Vec<String> {
    let (output, _) = build(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
    let headers = output.headers.extras().creating;
    let mut lines: Vec<String> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    lines.sort();
    lines
}

#[test]
fn all_that_is_said_with_an_object_becomes_a_header() {
    assert_eq!(headers(""), Vec::<String>::new());
    let all = "storage_class STANDARD_IA\nacl bucket-owner-full-control\ngrant_read id=\"1\"\ngrant_full_control id=2\n\
               grant_read_acp id=3\ngrant_write_acp id=4\nuse_server_side_encryption aws:kms\nssekms_key_id k\ntagging a=b&c=d";
    let wanted = [
        "x-amz-acl: bucket-owner-full-control",
        "x-amz-grant-full-control: id=2",
        "x-amz-grant-read-acp: id=3",
        "x-amz-grant-read: id=\"1\"",
        "x-amz-grant-write-acp: id=4",
        "x-amz-server-side-encryption-aws-kms-key-id: k",
        "x-amz-server-side-encryption: aws:kms",
        "x-amz-storage-class: STANDARD_IA",
        "x-amz-tagging: a=b&c=d",
    ];
    assert_eq!(headers(all), wanted);
    assert_eq!(headers("reduced_redundancy true"), ["x-amz-storage-class: REDUCED_REDUNDANCY"]);
}

#[test]
fn a_key_of_ones_own_is_taken_plain_and_in_base64() {
    let key = |parameters: &str| {
        let (output, _) = build(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
        output.headers.library().customer_key.unwrap().expose().to_owned()
    };
    let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let algorithm = "sse_customer_algorithm AES256\nsse_customer_key";
    assert_eq!(key(&format!("{algorithm} 0123456789abcdef0123456789abcdef")), base64);
    assert_eq!(key(&format!("{algorithm} {base64}")), base64);
    let short = fault("sse_customer_key canary");
    assert!(short.contains("32 bytes") && !short.contains("canary"), "{short}");
}

#[test]
fn what_can_not_be_obeyed_is_a_fault_that_says_so() {
    let faults = [
        ("s3_bucket", "required"),
        ("s3_bucket a/b", "name of a bucket"),
        ("s3_endpoint https://s3.amazonaws.com", "use s3_region instead"),
        ("s3_endpoint minio:9000", "write https://host:port"),
        ("s3_endpoint http://x\nenable_dual_stack true", "take them out"),
        ("store_as lzo", "use zstd"),
        ("store_as lzma2", "use zstd"),
        ("store_as tar", "There are gzip, zstd, text, json"),
        ("store_as zstd\n<compress>\nlevel 40\n</compress>", "1 to 22"),
        ("hex_random_length 17", "less than or equal to 16"),
        ("index_format %5d", "should be %d"),
        ("acl everyone", "none of private"),
        ("use_server_side_encryption rot13", "none of AES256"),
        ("checksum_algorithm SHA1", "There are CRC32"),
        ("sse_customer_algorithm AES256", "without sse_customer_key"),
        ("signature_version s3", "v4 alone"),
        ("s3_metadata {\"a b\":\"c\"}", "name of metadata"),
        ("s3_metadata {\"a\":\"é\"}", "plain ASCII"),
        ("s3_metadata {\"suirochunkid\":\"1\"}", "name of metadata"),
        ("aws_key_id a", "without aws_sec_key"),
        ("aws_sec_key a", "without aws_key_id"),
        ("proxy_uri socks5://p", "not supported"),
        ("s3_object_key_format %{uuid}", "is removed"),
        ("path ${tag}/", "chunk key 'tag' is not configured"),
        (
            "<assume_role_credentials>\nrole_arn a\nrole_session_name b\nsts_endpoint_url x\n</assume_role_credentials>",
            "sts_endpoint_url",
        ),
    ];
    for (parameters, wanted) in faults {
        let parameters = if parameters == "s3_bucket" { "# s3_bucket" } else { parameters };
        let said = fault(parameters);
        assert!(said.contains(wanted), "{parameters}: {said}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of_and_nothing_is_unknown() {
    let all = "compute_checksums false\nuse_bundled_cert true\nsignature_version v4\nforce_path_style true\n\
               aws_iam_retries 3\nsse_customer_key_md5 x\nstore_as gzip_command\ncommand_parameter -9\noverwrite true\n\
               check_bucket false\nauto_create_bucket false\ncheck_apikey_on_start false\nwarn_for_delay 1h\n\
               ssl_verify_peer false\ns3_metadata {\"a\":\"b\"}\nchecksum_algorithm CRC32\ntime_slice_format %Y\n\
               <bucket_lifecycle_rule>\nid a\nexpiration_days 3\n</bucket_lifecycle_rule>\n\
               <shared_credentials>\npath /x\nprofile_name y\n</shared_credentials>\n\
               <instance_profile_credentials>\nretries 1\nip_address 127.0.0.1\nport 1\nhttp_open_timeout 1\n\
               http_read_timeout 1\n</instance_profile_credentials>\n\
               <web_identity_credentials>\nrole_arn a\nrole_session_name b\nweb_identity_token_file /t\n\
               </web_identity_credentials>";
    let (output, warnings) = build(all).unwrap_or_else(|faults| panic!("{}", faults.render()));
    let said = warnings.render();
    for name in [
        "compute_checksums",
        "use_bundled_cert",
        "sse_customer_key_md5",
        "command_parameter",
        "overwrite",
        "shared_credentials",
    ] {
        assert!(said.contains(&format!("{name} has no effect here")), "{name}: {said}");
    }
    for word in ["aws_iam_retries is deprecated", "Amazon gives such addresses up"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("is not used"), "{said}");
    assert_eq!(output.params.lifecycle.len(), 1);
}

#[test]
fn a_memory_buffer_is_warned_of_unless_it_is_meant() {
    let warned = |parameters: &str| {
        let (_, warnings) = build(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
        warnings.render().contains("wait for their object in memory alone")
    };
    assert!(warned("<buffer time>\ntimekey 1h\n</buffer>"));
    assert!(!warned("<buffer time>\ntimekey 1h\n@type memory\n</buffer>"));
    assert!(!warned("<buffer time>\ntimekey 1h\npath /var/x\n</buffer>"));
}
