# Yocto, in a layer's recipes-support/tidelock/. Checked once by hand, with bitbake 2.19 and OpenEmbedded-Core of August 2026,
# for qemux86-64 with systemd: parsed, fetched, unpacked, installed, packaged; do_package_qa had no remark on it but on the
# owner of files, for pseudo was not to be had. Not checked: an image, a boot, releases before 5.1 (which have no UNPACKDIR).
SUMMARY = "Pull agent for fleets of small Linux devices"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=@MD5-OF-LICENSE@"

TIDELOCK_TARGET:aarch64 = "aarch64"
TIDELOCK_TARGET:armv7a = "armv7"
TIDELOCK_TARGET:armv7ve = "armv7"
TIDELOCK_TARGET:armv6 = "armv6"
TIDELOCK_TARGET:x86-64 = "x86_64"
TIDELOCK_TARGET:i686 = "i686"
TIDELOCK_TARGET:riscv64 = "riscv64"

SRC_URI = "https://releases.example.org/tidelock/tidelock-${TIDELOCK_TARGET}.tar.gz"
SRC_URI[sha256sum] = "@SHA256@"
S = "${UNPACKDIR}/tidelock"

python () {
    if not d.getVar('TIDELOCK_TARGET'):
        raise bb.parse.SkipRecipe('there is no file of it for %s' % d.getVar('TUNE_PKGARCH'))
}

inherit systemd

# Nothing is compiled.
INHIBIT_DEFAULT_DEPS = "1"

SYSTEMD_SERVICE:${PN} = "tidelock.service tidelock-guard.service tidelock-firstboot.service"
RRECOMMENDS:${PN} = "ca-certificates"
# One static file, stripped already.
INSANE_SKIP:${PN} = "already-stripped ldflags"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"

do_install() {
    install -Dm 0755 ${S}/usr/bin/tidelock ${D}${bindir}/tidelock
    for unit in tidelock tidelock-guard tidelock-firstboot; do
        install -Dm 0644 ${S}/systemd/system/$unit.service ${D}${systemd_system_unitdir}/$unit.service
    done
    install -Dm 0644 ${S}/systemd/sysusers.d/tidelock.conf ${D}${nonarch_libdir}/sysusers.d/tidelock.conf
    install -Dm 0644 ${S}/systemd/tmpfiles.d/tidelock.conf ${D}${nonarch_libdir}/tmpfiles.d/tidelock.conf
}

FILES:${PN} += "${systemd_system_unitdir} ${nonarch_libdir}/sysusers.d ${nonarch_libdir}/tmpfiles.d"
