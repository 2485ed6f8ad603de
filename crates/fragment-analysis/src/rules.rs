//! Rules that lead from a word, a variable or a symbol to what it implies.
//!
//! Tables, so that what is believed can be read and argued about. None of them makes a bundle thin, and a component too much
//! costs a layer that is shared and read-only anyway.

/// Opens connections to other hosts.
pub(crate) const CONNECT: &[&str] = &["tcp_connections", "socket_create"];
/// Looks names up.
pub(crate) const RESOLVE: &[&str] = &["dns_lookup"];
/// Speaks to a cache of names.
pub(crate) const CACHE: &[&str] = &["dns_cache", "dns_lookup"];
/// Puts processes into the background and takes them back.
const JOBS: &[&str] = &["job_control"];
/// Looks into other processes.
pub(crate) const DEBUG: &[&str] = &["advanced_proc_mgmt"];
/// Opens devices.
pub(crate) const DEVICE: &[&str] = &["device_access"];
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
        names: &["resolvectl", "systemd-resolve"],
        first_arguments: &[
            "--flush-caches",
            "--statistics",
            "flush-caches",
            "show-cache",
            "statistics",
        ],
        capabilities: CACHE,
    },
    CommandRule {
        names: &["nscd"],
        first_arguments: &["--invalidate", "--statistics", "-g", "-i"],
        capabilities: CACHE,
    },
    CommandRule {
        names: &["rndc", "unbound-control"],
        first_arguments: &["dump_cache", "dumpdb", "flush", "flush_zone", "flushname"],
        capabilities: CACHE,
    },
    CommandRule {
        names: &["dnscache"],
        first_arguments: &[],
        capabilities: CACHE,
    },
    CommandRule {
        names: &["dmsetup", "mdev", "udevadm", "udevd"],
        first_arguments: &[],
        capabilities: &["device_access", "device_control"],
    },
    // what a shell has of job control (POSIX XCU 2.9.3.1 and bash(1)): without it these are no commands at all
    CommandRule {
        names: &["bg", "disown", "fg", "jobs", "suspend"],
        first_arguments: &[],
        capabilities: JOBS,
    },
    CommandRule {
        names: &["set"],
        first_arguments: &["-m", "-om"],
        capabilities: JOBS,
    },
    CommandRule {
        names: &["killall", "pkill", "pidwait"],
        first_arguments: &[],
        capabilities: &["signal_handling"],
    },
    // attaching to another process, which has to be found and looked at first
    CommandRule {
        names: &["gdb", "ltrace", "strace"],
        first_arguments: &["--attach", "--pid", "-p"],
        capabilities: DEBUG,
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

/// The rules that a set of imported symbols fulfils, each with the symbols by which it does.
pub(crate) fn implied(
    imports: &std::collections::BTreeSet<String>,
) -> impl Iterator<Item = (&'static SymbolRule, Vec<&'static str>)> {
    SYMBOLS
        .iter()
        .filter_map(|rule| Some((rule, all_of(rule.groups, imports)?)))
}

/// One imported symbol of each group, where there is one of each.
pub(crate) fn all_of(
    groups: &[&'static [&'static str]],
    imports: &std::collections::BTreeSet<String>,
) -> Option<Vec<&'static str>> {
    let imported = |name: &&&str| imports.contains(**name);
    let names = groups
        .iter()
        .map(|group| group.iter().find(imported).copied());
    names.collect()
}

/// What a program imports that chooses its time zone itself.
pub(crate) const SETS_ZONE: &[&[&str]] = &[
    &["putenv", "setenv"],
    &["localtime", "localtime_r", "mktime", "tzset"],
];

/// What a program imports that takes its locale from the environment, or from elsewhere.
pub(crate) const SETS_LOCALE: &[&[&str]] = &[&["newlocale", "setlocale"]];

/// What a library imports that converts between character sets, and a plugin of the few that glibc itself counts as its core
/// (ISO 8859-1, UTF-16, CP1252 and their like).
pub(crate) const CONVERSIONS: (&str, &str) =
    ("iconv_open", "/usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so");

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
    // a server for datagrams does not listen
    SymbolRule {
        groups: &[
            &["socket"],
            &["bind"],
            &["recvfrom", "recvmsg"],
            &["sendmsg", "sendto"],
            &["getaddrinfo", "inet_addr", "inet_aton", "inet_pton"],
        ],
        capabilities: &["socket_bind", "socket_create"],
        paths: &[],
    },
    SymbolRule {
        groups: &[&[
            "execl",
            "execle",
            "execlp",
            "execv",
            "execve",
            "execvp",
            "execvpe",
            "fexecve",
            "popen",
            "posix_spawn",
            "posix_spawnp",
            "system",
        ]],
        capabilities: &["process_execution"],
        paths: &[],
    },
    // Giving the terminal away is what job control is (tcsetpgrp(3)), and giving it to groups of its own.
    SymbolRule {
        groups: &[&["tcsetpgrp"], &["setpgid"]],
        capabilities: JOBS,
        paths: &[],
    },
    // `kill` is imported by nearly everything; signals with a value, or to a process that is held, are for those who mean it.
    SymbolRule {
        groups: &[&["pidfd_send_signal", "pthread_sigqueue", "sigqueue"]],
        capabilities: &["signal_handling"],
        paths: &[],
    },
    SymbolRule {
        groups: &[&["process_vm_readv", "process_vm_writev", "ptrace"]],
        capabilities: DEBUG,
        paths: &[],
    },
    SymbolRule {
        groups: &[&[
            "blkid_get_cache",
            "blkid_new_probe",
            "blkid_new_probe_from_filename",
            "libusb_init",
            "libusb_init_context",
            "udev_device_new_from_devnum",
            "udev_device_new_from_subsystem_sysname",
            "udev_device_new_from_syspath",
            "udev_enumerate_new",
            "udev_new",
        ]],
        capabilities: DEVICE,
        paths: &[],
    },
    SymbolRule {
        groups: &[&[
            "delete_module",
            "dm_task_create",
            "finit_module",
            "init_module",
            "kmod_new",
            "libusb_control_transfer",
            "udev_monitor_new_from_netlink",
        ]],
        capabilities: &["device_control"],
        paths: &[],
    },
    // What a program says to the manager that started it, and what it asks of it (sd_notify(3), sd_bus_open_system(3)).
    SymbolRule {
        groups: &[&[
            "sd_booted",
            "sd_notify",
            "sd_notifyf",
            "sd_pid_notify",
            "sd_watchdog_enabled",
        ]],
        capabilities: &["service_status"],
        paths: &[],
    },
    SymbolRule {
        groups: &[&["sd_listen_fds", "sd_listen_fds_with_names"]],
        capabilities: &["service_start"],
        paths: &[],
    },
    SymbolRule {
        groups: &[&["sd_bus_default_system", "sd_bus_open_system"]],
        capabilities: &["service_control"],
        paths: &[],
    },
    SymbolRule {
        groups: &[&["sd_event_add_child", "sd_event_add_child_pidfd"]],
        capabilities: &["process_management"],
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
            "getservent",
            "getservent_r",
        ]],
        capabilities: &[],
        paths: &["/etc/services"],
    },
    SymbolRule {
        groups: &[&[
            "getprotobyname",
            "getprotobyname_r",
            "getprotobynumber",
            "getprotobynumber_r",
            "getprotoent",
        ]],
        capabilities: &[],
        paths: &["/etc/protocols"],
    },
    SymbolRule {
        groups: &[&[
            "getrpcbyname",
            "getrpcbyname_r",
            "getrpcbynumber",
            "getrpcent",
        ]],
        capabilities: &[],
        paths: &["/etc/rpc"],
    },
    SymbolRule {
        groups: &[&["getnetbyaddr", "getnetbyname", "getnetent"]],
        capabilities: &[],
        paths: &["/etc/networks"],
    },
    SymbolRule {
        groups: &[&["ether_hostton", "ether_ntohost"]],
        capabilities: &[],
        paths: &["/etc/ethers"],
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
    // Conversions other than between the built-in character sets are plugins: this lists those beyond `CONVERSIONS`. The file is
    // the same for every machine but for the multiarch directory, and components are built for one.
    SymbolRule {
        groups: &[&["iconv_open"]],
        capabilities: &[],
        paths: &["/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.d/gconv-modules-extra.conf"],
    },
];

/// Sonames without their version, and the file that the library reads for every program; `*` of both is the same.
const LIBRARY_DATA: &[(&str, &str)] = &[
    // texlive-binaries only recommends the package of the file without which nothing is found (kpathsea's manual, 3.2.1)
    ("libkpathsea", "/usr/share/texmf/web2c/texmf.cnf"),
    // valac-bin has the compiler, and what it compiles against is nobody's dependency but valac's
    ("libvala-*", "/usr/share/vala-*/vapi/glib-2.0.vapi"),
];

/// The file that the library of a soname reads.
pub(crate) fn library_data(soname: &str) -> Option<String> {
    let (name, _) = soname.split_once(".so.")?;
    LIBRARY_DATA.iter().find_map(|(pattern, path)| {
        let version = match pattern.split_once('*') {
            Some((before, after)) => name.strip_prefix(before)?.strip_suffix(after)?,
            None => (name == *pattern).then_some("")?,
        };
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        (version.chars().all(plain)).then(|| path.replace('*', version))
    })
}

/// A program that runs another one when an option says so.
pub(crate) struct HelperRule {
    pub(crate) names: &'static [&'static str],
    /// Long options, without dashes.
    pub(crate) long: &'static [&'static str],
    /// Short ones, and those that a value follows.
    pub(crate) short: &'static str,
    pub(crate) values: &'static str,
    pub(crate) command: &'static str,
}

/// Programs whose package only recommends the one they run. GnuPG's keep secret keys and passphrases in one process, and
/// speak to key servers in another (gpg(1)).
pub(crate) const HELPERS: &[HelperRule] = &[
    HelperRule {
        names: &["gpg", "gpg2", "gpgsm"],
        long: &[
            "card-edit",
            "card-status",
            "change-passphrase",
            "change-pin",
            "clear-sign",
            "clearsign",
            "decrypt",
            "decrypt-files",
            "delete-secret-and-public-key",
            "delete-secret-key",
            "delete-secret-keys",
            "desig-revoke",
            "detach-sign",
            "edit-card",
            "edit-key",
            "export-secret-keys",
            "export-secret-subkeys",
            "full-gen-key",
            "full-generate-key",
            "gen-key",
            "gen-revoke",
            "generate-key",
            "generate-revocation",
            "list-secret-keys",
            "lsign-key",
            "passwd",
            "quick-add-key",
            "quick-add-uid",
            "quick-addkey",
            "quick-adduid",
            "quick-gen-key",
            "quick-generate-key",
            "quick-lsign-key",
            "quick-revoke-uid",
            "quick-revuid",
            "quick-set-expire",
            "quick-set-primary-uid",
            "quick-sign-key",
            "sign",
            "sign-key",
            "symmetric",
        ],
        short: "Kbcds",
        values: "Nioru",
        command: "gpg-agent",
    },
    HelperRule {
        names: &["gpg", "gpg2"],
        long: &[
            "fetch-keys",
            "locate-external-keys",
            "receive-keys",
            "recv-keys",
            "refresh-keys",
            "search-keys",
            "send-keys",
        ],
        short: "",
        values: "",
        command: "dirmngr",
    },
];

impl HelperRule {
    /// The option by which a command line asks for the other program.
    pub(crate) fn asked<'w>(&self, arguments: impl Iterator<Item = &'w str>) -> Option<String> {
        let options = arguments.take_while(|word| *word != "--");
        let mut dashed = options.filter_map(|word| word.strip_prefix('-'));
        dashed.find_map(|word| match word.strip_prefix('-') {
            Some(long) => {
                let name = long.split('=').next().unwrap_or_default();
                self.long.contains(&name).then(|| format!("--{name}"))
            }
            None => {
                let cluster = word.split(|c| self.values.contains(c)).next();
                let found = cluster?.chars().find(|c| self.short.contains(*c));
                found.map(|c| format!("-{c}"))
            }
        })
    }
}

/// Databases that getent(1) is asked for, with the file that nsswitch.conf(5) has them read from.
pub(crate) const DATABASES: &[(&str, &str)] = &[
    ("ahosts", "/etc/hosts"),
    ("ahostsv4", "/etc/hosts"),
    ("ahostsv6", "/etc/hosts"),
    ("ethers", "/etc/ethers"),
    ("group", "/etc/group"),
    ("gshadow", "/etc/gshadow"),
    ("hosts", "/etc/hosts"),
    ("initgroups", "/etc/group"),
    ("netgroup", "/etc/netgroup"),
    ("networks", "/etc/networks"),
    ("passwd", "/etc/passwd"),
    ("protocols", "/etc/protocols"),
    ("rpc", "/etc/rpc"),
    ("services", "/etc/services"),
    ("shadow", "/etc/shadow"),
];

/// Python modules that read data which belongs to the system and not to Python.
pub(crate) const PYTHON_DATA: &[(&str, &str)] = &[
    ("requests", CA_BUNDLE),
    ("ssl", CA_BUNDLE),
    ("urllib", CA_BUNDLE),
    ("zoneinfo", "/usr/share/zoneinfo/Etc/UTC"),
];

/// Functions and classes of PHP's extensions that are not called as the extension is, in lower case (the PHP manual,
/// "Function Reference"); `*` is any ending.
pub(crate) const PHP_NAMES: &[(&str, &[&str])] = &[
    (
        "bcmath",
        &[
            "bcadd", "bccomp", "bcdiv", "bcmod", "bcmul", "bcpow", "bcscale", "bcsqrt", "bcsub",
        ],
    ),
    ("dba", &["dba_*"]),
    ("dom", &["domdocument", "domelement", "domxpath"]),
    (
        "gd",
        &[
            "imagecreate*",
            "imagecopy*",
            "imagejpeg",
            "imagepng",
            "getimagesizefromstring",
        ],
    ),
    (
        "intl",
        &[
            "collator",
            "collator_*",
            "grapheme_*",
            "idn_to_*",
            "intl*",
            "locale",
            "locale_*",
            "messageformatter",
            "normalizer",
            "normalizer_*",
            "numberformatter",
            "numfmt_*",
            "resourcebundle",
            "spoofchecker",
            "transliterator",
            "transliterator_*",
        ],
    ),
    ("mbstring", &["mb_*"]),
    ("odbc", &["odbc_*"]),
    ("pgsql", &["pg_*"]),
    ("simplexml", &["simplexml_*", "simplexmlelement"]),
    ("soap", &["soapclient", "soapserver", "soapfault"]),
    ("tidy", &["tidy", "tidy_*"]),
    ("xml", &["xml_parser_*", "utf8_decode", "utf8_encode"]),
    ("xmlreader", &["xmlreader"]),
    ("xmlwriter", &["xmlwriter", "xmlwriter_*"]),
    ("xsl", &["xsltprocessor"]),
    ("zip", &["ziparchive", "zip_*"]),
];

/// Python modules that run others in an interpreter of their own.
pub(crate) const PYTHON_MODULES: &[(&str, &str)] = &[("venv", "ensurepip")];

/// Python modules whose purpose is a capability.
pub(crate) const PYTHON_CAPABILITIES: &[(&[&str], &[&str])] = &[
    (
        &[
            "aiohttp", "ftplib", "httpx", "imaplib", "paramiko", "poplib", "requests", "smtplib",
            "urllib3",
        ],
        &["dns_lookup", "socket_create", "tcp_connections"],
    ),
    (
        &["flask", "gunicorn", "socketserver", "uvicorn", "wsgiref"],
        LISTEN,
    ),
    (&["dns"], RESOLVE),
    (&["multiprocessing", "subprocess"], &["process_execution"]),
    (&["psutil"], DEBUG),
    (&["evdev", "pyudev", "serial", "usb"], DEVICE),
    (&["supervisor"], &["process_management", "service_start"]),
    (&["systemd"], &["service_status"]),
];

/// Variables that say something, whatever their value (sd_notify(3), sd_listen_fds(3), resolv.conf(5), dnscache).
pub(crate) const VARIABLES: &[(&str, &str, &[&str])] = &[
    ("DNSCACHEIP", "names a cache of names", CACHE),
    (
        "LISTEN_FDS",
        "is set by the manager of a service",
        &["service_start"],
    ),
    (
        "NOTIFY_SOCKET",
        "is set by the manager of a service",
        &["service_status"],
    ),
    ("RES_OPTIONS", "are options of a resolver", RESOLVE),
];

/// Names of `/dev` that every container has and that are no devices to get access to.
const PLAIN_DEVICES: &[&str] = &[
    "console", "core", "fd", "full", "log", "mqueue", "null", "ptmx", "pts", "random", "shm",
    "stderr", "stdin", "stdout", "tty", "urandom", "zero",
];

/// What a path implies as such.
pub(crate) fn path_capabilities(path: &str) -> &'static [&'static str] {
    let below = |directory: &str| {
        path.strip_prefix(directory)
            .and_then(|rest| rest.split('/').next())
            .filter(|name| !name.is_empty())
    };
    if let Some(name) = below("/dev/") {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '%');
        return if PLAIN_DEVICES.contains(&name) || !name.chars().all(plain) {
            &[]
        } else {
            DEVICE
        };
    }
    if let Some(process) = below("/proc/")
        && (process.starts_with('%') || process.bytes().all(|b| b.is_ascii_digit()))
        && path.len() > "/proc/".len() + process.len()
    {
        return DEBUG;
    }
    match path {
        "/run/nscd/socket" | "/var/run/nscd/socket" => CACHE,
        "/etc/resolv.conf" => RESOLVE,
        "/run/systemd/notify" => &["service_status"],
        "/run/systemd/private" => &["service_control", "service_status"],
        _ if path.starts_with("/run/udev/") => &["device_control"],
        _ if path.starts_with("/etc/init.d/") => &["service_control", "service_start"],
        _ if path.starts_with("/etc/service/") || path.starts_with("/etc/sv/") => {
            &["process_management", "service_start"]
        }
        _ => &[],
    }
}

/// What a string among a program's read-only data implies, at the lowest grade there is: many are for people to read.
pub(crate) fn text_capabilities(text: &str) -> &'static [&'static str] {
    const NETWORK: &[&str] = &["dns_lookup", "socket_create", "tcp_connections"];
    const SCHEMES: &[&str] = &[
        "amqp",
        "ftp",
        "ftps",
        "http",
        "https",
        "imap",
        "ldap",
        "ldaps",
        "mongodb",
        "mqtt",
        "mysql",
        "nats",
        "postgres",
        "postgresql",
        "redis",
        "rediss",
        "smtp",
        "ws",
        "wss",
    ];
    if text.starts_with('/') {
        return path_capabilities(text);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return if SCHEMES.contains(&scheme) {
            NETWORK
        } else {
            &[]
        };
    }
    match text {
        "org.freedesktop.systemd1" | "org.freedesktop.systemd1.Manager" => {
            &["service_control", "service_status"]
        }
        "NOTIFY_SOCKET" => &["service_status"],
        "LISTEN_FDS" => &["service_start"],
        _ => &[],
    }
}

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
        // Its own resolver reads the files before it asks anybody (`src/net/conf.go`).
        paths: &["/etc/hosts", "/etc/nsswitch.conf"],
    },
    GoRule {
        names: &["net.readServices", "net.goLookupPort"],
        capabilities: &[],
        paths: &["/etc/services"],
    },
    GoRule {
        names: &["net.readProtocols", "net.lookupProtocol"],
        capabilities: &[],
        paths: &["/etc/protocols"],
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

#[cfg(test)]
mod tests {
    use fragment_types::symbol::TELLING;

    use super::*;

    #[test]
    fn libraries_are_asked_for_every_symbol_that_implies_something() {
        let capabilities = SYMBOLS.iter().filter(|rule| !rule.capabilities.is_empty());
        let mut named: Vec<&str> = capabilities.flat_map(|rule| rule.groups.concat()).collect();
        named.push(CONVERSIONS.0);
        named.sort_unstable();
        named.dedup();
        assert_eq!(named, TELLING);
    }

    #[test]
    fn libraries_read_data_of_their_version() {
        for (soname, expected) in [
            ("libkpathsea.so.6", Some("/usr/share/texmf/web2c/texmf.cnf")),
            (
                "libvala-0.56.so.0",
                Some("/usr/share/vala-0.56/vapi/glib-2.0.vapi"),
            ),
            ("libvala-../x.so.0", None),
            ("libkpathsea2.so.6", None),
            ("libkpathsea.so", None),
        ] {
            assert_eq!(library_data(soname).as_deref(), expected, "{soname}");
        }
    }

    #[test]
    fn options_ask_for_another_program() {
        for (line, expected) in [
            (
                "--batch --quick-generate-key u@t",
                Some("--quick-generate-key"),
            ),
            ("-q --passphrase-fd=0 --sign=x", Some("--sign")),
            ("-bau me f", Some("-b")),
            ("-qd f", Some("-d")),
            ("-us f", None),
            ("--verify s", None),
            ("-- -d", None),
            ("--import k", None),
        ] {
            assert_eq!(
                HELPERS[0].asked(line.split(' ')).as_deref(),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn paths_imply_devices_processes_and_services() {
        for (path, expected) in [
            ("/dev/sda", DEVICE),
            ("/dev/input/event%d", DEVICE),
            ("/dev/null", &[]),
            ("/dev/fd/3", &[]),
            ("/dev/", &[]),
            ("/dev/ nothing", &[]),
            ("/proc/%d/mem", DEBUG),
            ("/proc/1/maps", DEBUG),
            ("/proc/1", &[]),
            ("/proc/self/maps", &[]),
            ("/proc/cpuinfo", &[]),
            ("/run/nscd/socket", CACHE),
            ("/etc/init.d/nginx", &["service_control", "service_start"]),
            ("/etc/passwd", &[]),
        ] {
            assert_eq!(path_capabilities(path), expected, "{path}");
        }
    }

    #[test]
    fn strings_imply_networks_and_services() {
        assert!(text_capabilities("https://example.org/api").contains(&"tcp_connections"));
        assert!(text_capabilities("redis://%s:%d").contains(&"dns_lookup"));
        for text in [
            "",
            "file:///x",
            "http: error",
            "see https://example.org",
            "notify_socket",
        ] {
            assert_eq!(text_capabilities(text), [""; 0], "{text}");
        }
        assert_eq!(text_capabilities("NOTIFY_SOCKET"), ["service_status"]);
    }
}
