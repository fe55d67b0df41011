#!/bin/sh
# Makes what TLS needs, for a network of your own: an authority, and one certificate that it signed, which scheduler,
# workers and you all show. Whoever has key.pem can run programs as you.
#
#   deploy/certificates.sh FOLDER [DAYS]
set -eu
folder=${1:?where to? deploy/certificates.sh FOLDER [DAYS]}
days=${2:-365}
umask 077
mkdir -p "$folder"
cd "$folder"
for name in ca.pem ca-key.pem cert.pem key.pem; do
    [ ! -e "$name" ] || { echo "there is a $name in $folder already" >&2; exit 2; }
done
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc"
openssl req -x509 $curve -days "$days" -subj "/CN=authority of Depthcheck's cluster" -keyout ca-key.pem -out ca.pem
openssl req -new $curve -subj "/CN=Depthcheck's cluster" -keyout key.pem -out request.pem
openssl x509 -req -in request.pem -days "$days" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out cert.pem
rm -f request.pem ca.srl
