use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn familiar_names_are_normalized_and_back() {
    let digest = format!("sha256:{HEX}");
    let cases = [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("ubuntu:24.04", "docker.io/library/ubuntu:24.04", "ubuntu:24.04"),
        ("user/image", "docker.io/user/image:latest", "user/image:latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        (
            "index.docker.io/library/ubuntu",
            "docker.io/library/ubuntu:latest",
            "ubuntu:latest",
        ),
        (
            "docker.io/library/a/b",
            "docker.io/library/a/b:latest",
            "library/a/b:latest",
        ),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x/y:1", "localhost:5000/x/y:1", "localhost:5000/x/y:1"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        (
            "ghcr.io/a-b/c__d.e",
            "ghcr.io/a-b/c__d.e:latest",
            "ghcr.io/a-b/c__d.e:latest",
        ),
        ("Foo/bar", "Foo/bar:latest", "Foo/bar:latest"),
    ];
    for (text, canonical, familiar) in cases {
        let reference = parse(text).or_latest();
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(parse(&reference.familiar()), reference, "{text}");
    }
    let both = parse(&format!("busybox:1@{digest}"));
    assert_eq!((both.tag(), both.digest().unwrap().hex()), (Some("1"), HEX));
    assert_eq!(both.tag_or_digest(), digest);
    assert_eq!(both.clone().or_latest(), both);
    assert_eq!(both.with_tag("2").unwrap().to_string(), "docker.io/library/busybox:2");
}

#[test]
fn refusals_have_docker_words() {
    let cases = [
        ("", "invalid reference format"),
        (
            "Ubuntu",
            "invalid reference format: repository name (library/Ubuntu) must be lowercase",
        ),
        (
            "a/B",
            "invalid reference format: repository name (a/B) must be lowercase",
        ),
        ("ubuntu:", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("ubuntu@sha256:123", "invalid reference format"),
        (
            "ubuntu@sha256:e3b0c44298fc1c149afbf4c8996fb924",
            "invalid checksum digest length",
        ),
        (
            "ubuntu@md5:e3b0c44298fc1c149afbf4c8996fb924",
            "unsupported digest algorithm",
        ),
        ("host:port/x", "invalid reference format"),
        ("a.-b/x", "invalid reference format"),
        ("../x", "invalid reference format"),
        ("[::1/x", "invalid reference format"),
        ("ünïcode", "invalid reference format"),
    ];
    for (text, error) in cases {
        assert_eq!(Reference::parse(text).unwrap_err().to_string(), error, "{text:?}");
    }
    let error = Reference::parse(HEX).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings")
    );
    assert_eq!(Reference::parse(&"a".repeat(250)), Err(Error::TooLong));
    assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
    assert_eq!(Reference::parse(&format!("a:{}", "t".repeat(129))), Err(Error::Format));
    assert_eq!(parse("a").with_tag("-x"), Err(Error::Tag));
}
