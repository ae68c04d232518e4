# NixOS: imports = [ ./module.nix ]; services.tidelock = { enable = true; url = …; environment = …; root = ./root.json; };
# Checked by tests/suite/packages/recipes.rs: evaluated by Nix with nixpkgs' functions stubbed, against the unit of systemd/.
# Checked once by hand: by the module system of nixpkgs' own lib (June 2026), its types included, into options that took
# anything. Not checked: an evaluation with the rest of nixpkgs, a build, a boot.
# Apps with units of their own are not for NixOS, whose /etc/systemd/system is not to be written: hooks start them.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.tidelock;
  toml = (pkgs.formats.toml { }).generate "tidelock.toml"
    ({ inherit (cfg) url environment; } // lib.optionalAttrs (cfg.labels != { }) { inherit (cfg) labels; });
  target = {
    x86_64-linux = "x86_64";
    aarch64-linux = "aarch64";
    armv7l-linux = "armv7";
    armv6l-linux = "armv6";
    i686-linux = "i686";
    riscv64-linux = "riscv64";
  }.${pkgs.stdenv.hostPlatform.system};
  tidelock = pkgs.stdenvNoCC.mkDerivation {
    pname = "tidelock";
    version = "0.1.0";
    src = pkgs.fetchurl {
      url = "https://releases.example.org/tidelock/tidelock-${target}.tar.gz";
      sha256 = "@SHA256@";
    };
    dontStrip = true;
    installPhase = ''
      mkdir -p $out
      cp -r usr/bin usr/share $out/
    '';
  };
in
{
  options.services.tidelock = {
    enable = lib.mkEnableOption "the tidelock agent";
    url = lib.mkOption { type = lib.types.str; description = "Where the fleet is published."; };
    environment = lib.mkOption { type = lib.types.str; description = "What this device is of."; };
    root = lib.mkOption { type = lib.types.path; description = "The root of trust, the published 1.root.json."; };
    labels = lib.mkOption { type = lib.types.attrsOf lib.types.str; default = { }; description = "What selectors see."; };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ tidelock ];
    environment.etc."tidelock/config.toml".source = toml;
    environment.etc."tidelock/root.json".source = cfg.root;
    users.groups.tidelock = { };
    systemd.services.tidelock = {
      description = "tidelock, keeps this device on the releases that its fleet wants";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network.target" ];
      unitConfig.StartLimitIntervalSec = 0;
      serviceConfig = {
        Type = "notify";
        ExecStartPre = "-${tidelock}/bin/tidelock guard";
        ExecStart = "${tidelock}/bin/tidelock run";
        Restart = "always";
        RestartSec = "5s";
        WatchdogSec = "5min";
        TimeoutStopSec = "45s";
        KillMode = "mixed";
        StateDirectory = "tidelock";
        RuntimeDirectory = "tidelock";
        RuntimeDirectoryPreserve = "yes";
        ProtectHome = "read-only";
        PrivateTmp = true;
        NoNewPrivileges = true;
      };
    };
  };
}
