# What cross/recipes/nixos/module.nix configures, with as much of nixpkgs' functions as it calls.
{ module, system }:
let
  lib = {
    types = { str = null; path = null; attrsOf = kind: null; };
    mkOption = option: option;
    mkEnableOption = what: { };
    mkIf = condition: then_: if condition then then_ else { };
    optionalAttrs = condition: then_: if condition then then_ else { };
  };
  pkgs = {
    stdenv.hostPlatform = { inherit system; };
    formats.toml = settings: { generate = name: value: value; };
    fetchurl = source: source;
    stdenvNoCC.mkDerivation = package: package // { outPath = "/nix/store/tidelock"; };
  };
  wanted = {
    enable = true;
    url = "https://fleet.example.org";
    environment = "staging";
    root = "/root.json";
    labels.ring = "early";
  };
  configured = (import module { inherit lib pkgs; config.services.tidelock = wanted; }).config;
  inherit (configured.systemd.services) tidelock;
in
{
  inherit (configured.environment) etc;
  source = (builtins.head configured.environment.systemPackages).src.url;
  service = tidelock.serviceConfig;
  inherit (tidelock) wantedBy;
}
