module balustrade.example/host

go 1.21
