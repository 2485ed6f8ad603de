//! Rules that lead from a word, a variable or a symbol to what it implies.
//!
//! Tables, so that what is believed can be read and argued about. None of them makes a bundle thin, and a component too much
//! costs a layer that is shared and read-only anyway.

/// Opens connections to other hosts.
pub(crate) const CONNECT: &[&str] = &["tcp_connections", "socket_create"];
/// Looks names up.
pub(crate) const RESOLVE: &[&str] = &["dns_lookup"];
/// Accepts connections.
pub(crate) const LISTEN: &[&str] = &["tcp_listen", "socket_create", "socket_bind"];
/// Trust anchors where Debian's libraries and most others look for them.
pub(crate) const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where the C library and everybody else look for time zones.
pub(crate) const ZONEINFO: &str = "/usr/share/zoneinfo";

/// A command whose purpose is a capability.
pub(crate) struct CommandRule {
    pub(crate) names: &'static [&'static str],
    /// First arguments that make it so; empty for any.
    pub(crate) first_arguments: &'static [&'static str],
    pub(crate) capabilities: &'static [&'static str],
}

/// Commands that are the front of a service which a component provides: the file alone would do nothing.
pub(crate) const COMMANDS: &[CommandRule] = &[
    CommandRule {
        names: &["getent"],
        first_arguments: &["hosts", "ahosts", "ahostsv4", "ahostsv6"],
        capabilities: RESOLVE,
    },
    CommandRule {
        names: &["dig", "host", "nslookup"],
        first_arguments: &[],
        capabilities: RESOLVE,
    },
    CommandRule {
        names: &["service", "systemctl"],
        first_arguments: &[],
        capabilities: &[
            "service_control",
            "service_status",
            "process_management",
            "service_start",
        ],
    },
    CommandRule {
        names: &[
            "runsv",
            "runsvdir",
            "s6-supervise",
            "s6-svc",
            "s6-svscan",
            "supervise",
            "sv",
            "svscan",
        ],
        first_arguments: &[],
        capabilities: &["process_management", "service_start"],
    },
];

/// Symbols that imply something when a program of the bundle imports them.
pub(crate) struct SymbolRule {
    /// One symbol of each group has to be imported.
    pub(crate) groups: &'static [&'static [&'static str]],
    pub(crate) capabilities: &'static [&'static str],
    pub(crate) paths: &'static [&'static str],
}

const NAME_LOOKUPS: &[&str] = &[
    "__res_query",
    "__res_search",
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname2",
    "gethostbyname_r",
    "res_nquery",
    "res_nsearch",
    "res_query",
    "res_search",
];

/// What imports imply. `connect` alone means little (a program may only speak to a local socket, syslog say): the rules for
/// networks ask for symbols that go together with an internet address.
pub(crate) const SYMBOLS: &[SymbolRule] = &[
    SymbolRule {
        groups: &[
            &["socket"],
            &["connect"],
            &[
                "getaddrinfo",
                "gethostbyname",
                "gethostbyname_r",
                "inet_addr",
                "inet_aton",
                "inet_pton",
            ],
        ],
        capabilities: CONNECT,
        paths: &[],
    },
    SymbolRule {
        groups: &[NAME_LOOKUPS],
        capabilities: RESOLVE,
        paths: &[],
    },
    SymbolRule {
        groups: &[&["socket"], &["bind"], &["listen"], &["accept", "accept4"]],
        capabilities: LISTEN,
        paths: &[],
    },
    SymbolRule {
        groups: &[&[
            "getpwent",
            "getpwnam",
            "getpwnam_r",
            "getpwuid",
            "getpwuid_r",
        ]],
        capabilities: &[],
        paths: &["/etc/passwd"],
    },
    SymbolRule {
        groups: &[&[
            "getgrent",
            "getgrgid",
            "getgrgid_r",
            "getgrnam",
            "getgrnam_r",
            "initgroups",
        ]],
        capabilities: &[],
        paths: &["/etc/group"],
    },
    SymbolRule {
        groups: &[&[
            "getservbyname",
            "getservbyname_r",
            "getservbyport",
            "getservbyport_r",
        ]],
        capabilities: &[],
        paths: &["/etc/services"],
    },
    SymbolRule {
        groups: &[&["getprotobyname", "getprotobyname_r", "getprotobynumber"]],
        capabilities: &[],
        paths: &["/etc/protocols"],
    },
    SymbolRule {
        groups: &[&[
            "SSL_CTX_set_default_verify_dir",
            "SSL_CTX_set_default_verify_file",
            "SSL_CTX_set_default_verify_paths",
            "X509_STORE_set_default_paths",
        ]],
        capabilities: &[],
        paths: &[CA_BUNDLE],
    },
    // Conversions other than between the built-in character sets are plugins. The file is the same for every machine but for
    // the multiarch directory, and components are built for one.
    SymbolRule {
        groups: &[&["iconv_open"]],
        capabilities: &[],
        paths: &["/usr/lib/x86_64-linux-gnu/gconv/gconv-modules"],
    },
];

/// Python modules that read data which belongs to the system and not to Python.
pub(crate) const PYTHON_DATA: &[(&str, &str)] = &[
    ("requests", CA_BUNDLE),
    ("ssl", CA_BUNDLE),
    ("urllib", CA_BUNDLE),
    ("zoneinfo", "/usr/share/zoneinfo/Etc/UTC"),
];

/// Variables that name a file or directory of trust anchors (OpenSSL, curl, git, Python requests, node).
pub(crate) const TRUST_VARIABLES: &[&str] = &[
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// Variables that name a proxy, in lower case; both cases are in use.
pub(crate) const PROXY_VARIABLES: &[&str] =
    &["all_proxy", "ftp_proxy", "http_proxy", "https_proxy"];

/// Variables that choose a locale (locale(7)).
pub(crate) const LOCALE_VARIABLES: &[&str] = &[
    "LANG",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
];

/// Functions of the Go library that imply something when a program has them.
pub(crate) struct GoRule {
    /// One of these.
    pub(crate) names: &'static [&'static str],
    pub(crate) capabilities: &'static [&'static str],
    pub(crate) paths: &'static [&'static str],
}

/// What functions of a Go program imply. Its linker leaves out what nothing calls.
pub(crate) const GO_FUNCTIONS: &[GoRule] = &[
    GoRule {
        names: &[
            "net.(*Dialer).DialContext",
            "net.(*Dialer).Dial",
            "net.(*sysDialer).dialTCP",
            "net.(*sysDialer).dialUDP",
        ],
        capabilities: CONNECT,
        paths: &[],
    },
    GoRule {
        names: &[
            "net.(*Resolver).lookupIPAddr",
            "net.(*Resolver).goLookupIPCNAMEOrder",
            "net.(*Resolver).lookupHost",
        ],
        capabilities: RESOLVE,
        // Its own resolver reads the file before it asks anybody.
        paths: &["/etc/hosts"],
    },
    GoRule {
        names: &["net.(*ListenConfig).Listen", "net.(*sysListener).listenTCP"],
        capabilities: LISTEN,
        paths: &[],
    },
    GoRule {
        names: &[
            "crypto/x509.loadSystemRoots",
            "crypto/x509.SystemCertPool",
            "crypto/x509.systemRootsPool",
        ],
        capabilities: &[],
        paths: &[CA_BUNDLE],
    },
    GoRule {
        names: &["time.LoadLocation"],
        capabilities: &[],
        paths: &["/usr/share/zoneinfo/Etc/UTC"],
    },
    GoRule {
        names: &[
            "os/user.lookupUser",
            "os/user.lookupUserId",
            "os/user.lookupUnixUid",
        ],
        capabilities: &[],
        paths: &["/etc/passwd"],
    },
    GoRule {
        names: &[
            "os/user.lookupGroup",
            "os/user.lookupGroupId",
            "os/user.lookupUnixGid",
        ],
        capabilities: &[],
        paths: &["/etc/group"],
    },
];
