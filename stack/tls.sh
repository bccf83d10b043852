# The stack's certificates, created once: a certificate authority with a server, a client and an expired client certificate,
# and an unknown authority with a client certificate.
# shellcheck shell=bash disable=SC2154

make_tls() {
  [ ! -d "$run/tls" ] || return 0
  local new=$run/tls.new
  rm -rf "$new"
  mkdir -m 700 "$new"
  cd "$new" || return
  authority ca 'stack authority'
  authority other-ca 'unknown authority'
  printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n' >server.ext
  printf 'extendedKeyUsage=clientAuth\n' >client.ext
  certificate ca server localhost server.ext -days 3650
  certificate ca client mfctl client.ext -days 3650
  certificate other-ca stranger-client mfctl client.ext -days 3650
  certificate ca expired-client mfctl client.ext -startdate 20200101000000Z -enddate 20200201000000Z
  # Kafka needs the key (PKCS#8) and the chain in one file.
  cat server.key server.pem ca.pem >server.keystore.pem
  rm -rf ./*.ext ./*.csr db
  cd "$run" || return
  failpoint tls
  mv -T "$new" "$run/tls"
}

# authority FILE NAME
authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.pem" -subj "/CN=mfctl $2" -days 3650 \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# certificate AUTHORITY FILE NAME EXTENSIONS VALIDITY…: uses `openssl ca`, the only command that can set a date in the past.
certificate() {
  local authority=$1 file=$2 name=$3 extensions=$4
  shift 4
  mkdir -p db
  : >db/index
  printf '[ca]\ndefault_ca=it\n[it]\ndatabase=db/index\nnew_certs_dir=db\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n' >db/conf
  openssl req -new -newkey rsa:2048 -nodes -keyout "$file.key" -out "$file.csr" -subj "/CN=$name"
  openssl ca -batch -notext -config db/conf -cert "$authority.pem" -keyfile "$authority.key" -in "$file.csr" -out "$file.pem" \
    -extfile "$extensions" "$@"
}
